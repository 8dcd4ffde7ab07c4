-- How far texts have been deleted because of their age: in payloads of all messages up to after_id.
CREATE TABLE webhooks.sweeps (
    name text PRIMARY KEY,
    after_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
) WITH (fillfactor = 10);
INSERT INTO webhooks.sweeps (name) VALUES ('texts');
