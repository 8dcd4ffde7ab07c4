-- What endpoints may ask for: a filter, an order, a rate, and what customers note about them.

ALTER TABLE webhooks.endpoints
    ADD COLUMN filter jsonb,
    ADD COLUMN metadata jsonb NOT NULL DEFAULT '{}',
    -- names of the sealed headers, which are no secret
    ADD COLUMN header_names text[] NOT NULL DEFAULT '{}',
    ADD COLUMN rate_per_s integer,
    -- null: in no order
    ADD COLUMN fifo jsonb,
    -- when the first of the attempts failed after which none succeeded
    ADD COLUMN failing_since timestamptz;
