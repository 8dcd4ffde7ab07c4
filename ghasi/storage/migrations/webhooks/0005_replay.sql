-- Replays and the log of an account read its events in the order of their ids.

CREATE INDEX events_account ON webhooks.events (account_id, id);

-- A test event is its endpoint's alone: a replay sends it to no other.
ALTER TABLE webhooks.events ADD COLUMN test boolean NOT NULL DEFAULT false;
UPDATE webhooks.events SET test = true WHERE message_id IS NULL;
