-- What an account was told of an endpoint that fails.

ALTER TABLE webhooks.endpoints
    -- how many of the warnings were given since failing_since; it begins anew with it
    ADD COLUMN warned smallint NOT NULL DEFAULT 0;
-- those that fail are few: every batch of successes asks whether one of its endpoints is among them
CREATE INDEX endpoints_failing ON webhooks.endpoints (id) WHERE failing_since IS NOT NULL;
