-- How a mailbox gets its tokens, in which cloud of Microsoft, and the certificate of an app that proves itself by one.
-- The private key is sealed.
ALTER TABLE grants ADD COLUMN grant_type TEXT NOT NULL DEFAULT 'authorization_code'
    CHECK (grant_type IN ('authorization_code', 'device_code', 'client_secret', 'client_certificate'));
ALTER TABLE grants ADD COLUMN cloud TEXT NOT NULL DEFAULT 'worldwide'
    CHECK (cloud IN ('worldwide', 'gcc_high', 'dod', 'china_21vianet'));
ALTER TABLE grants ADD COLUMN certificate TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN certificate_ends_on TEXT;
ALTER TABLE grants ADD COLUMN private_key BLOB;
