-- The client secret that a new one took the place of: kept for a day, in case the new one must be taken back.
ALTER TABLE grants ADD COLUMN spare_secret BLOB;
ALTER TABLE grants ADD COLUMN spare_secret_ends_on TEXT;
ALTER TABLE grants ADD COLUMN spare_secret_until_us INTEGER;
