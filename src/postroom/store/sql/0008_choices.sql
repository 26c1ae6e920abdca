-- After a long stop a person chooses which of the mail that waited is still sent.

-- Since when it cannot send, whatever the causes were meanwhile.
ALTER TABLE mailboxes ADD COLUMN silent_since_us INTEGER;
UPDATE mailboxes SET silent_since_us = since_us WHERE ready_since_us IS NULL;

-- Asked once for a mailbox, answered once. An answer is carried out in small batches: `carried_out_at_us` ends it.
-- `ready_us_at_asking` is the mailbox's clock then: what waits for an answer grows no older.
CREATE TABLE choices (
    choice_id INTEGER PRIMARY KEY,
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes,
    asked_at_us INTEGER NOT NULL,
    ready_us_at_asking INTEGER NOT NULL,
    answer TEXT CHECK (answer IN ('all', 'newer', 'apps', 'none')),
    newer_than_us INTEGER,
    apps TEXT NOT NULL DEFAULT '[]',
    who TEXT NOT NULL DEFAULT '',
    answered_at_us INTEGER,
    carried_out_at_us INTEGER,
    CHECK ((answered_at_us IS NOT NULL) = (answer IS NOT NULL)),
    CHECK ((newer_than_us IS NOT NULL) = (answer IS NOT NULL AND answer = 'newer'))
) STRICT;

CREATE UNIQUE INDEX choices_open ON choices (mailbox_id) WHERE answered_at_us IS NULL;
CREATE INDEX choices_of_mailbox ON choices (mailbox_id);
CREATE INDEX choices_to_carry_out ON choices (answered_at_us) WHERE carried_out_at_us IS NULL;

-- What was set aside stands in the stage `held`, outside of every claim's index; its recipients stay as they are.
ALTER TABLE deliveries ADD COLUMN choice_id INTEGER REFERENCES choices;
CREATE INDEX deliveries_set_aside ON deliveries (choice_id, delivery_id) WHERE choice_id IS NOT NULL;

DROP INDEX deliveries_waits;
CREATE INDEX deliveries_waits ON deliveries (mail_server_id, stage, choice_id, open_recipients);
