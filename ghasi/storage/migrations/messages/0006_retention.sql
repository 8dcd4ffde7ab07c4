-- How long things are kept: how far housekeeping has come, what it comes back to, and indexes that reading by filter
-- takes. All of their columns never change, so that updates of messages stay on their page (HOT).

-- One row a sweep through messages by id: all ids up to after_id have been looked at.
CREATE TABLE messages.sweeps (
    name text PRIMARY KEY,
    after_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
) WITH (fillfactor = 10);
INSERT INTO messages.sweeps (name) VALUES ('receipts'), ('bodies'), ('late_bodies'), ('submissions'),
                                          ('late_submissions');

-- Messages that had not ended when the sweep came by: they become unknown at unknown_at.
CREATE TABLE messages.awaited (
    message_id uuid PRIMARY KEY,
    unknown_at timestamptz NOT NULL
);
CREATE INDEX awaited_due ON messages.awaited (unknown_at);

-- Messages that were still on their way when their text had reached its age: it goes when they have ended.
CREATE TABLE messages.late_bodies (
    message_id uuid PRIMARY KEY
);

-- Messages whose text is deleted, as long as copies of it may be left. told: webhooks has been told of it, by an event
-- of a transaction that began after the deletion was committed, so that no event with the text comes after it.
CREATE TABLE messages.redactions (
    message_id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    told boolean NOT NULL DEFAULT false
);

-- Lists by recipient, by sender, and of what was received, each newest first.
CREATE INDEX messages_by_recipient ON messages.messages (account_id, recipient, id);
CREATE INDEX messages_by_sender ON messages.messages (account_id, sender, id) WHERE sender IS NOT NULL;
CREATE INDEX messages_received ON messages.messages (account_id, id) WHERE direction = 'inbound';
