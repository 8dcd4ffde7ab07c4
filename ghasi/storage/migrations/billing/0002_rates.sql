-- Rates by more than the country. `position` counts in the order of commits, since importers take turns: what is behind
-- a position is all that is new.
ALTER TABLE billing.rates
    ADD COLUMN position bigint GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN direction text COLLATE "C" NOT NULL DEFAULT 'outbound' CHECK (direction IN ('outbound', 'inbound')),
    ADD COLUMN account_id uuid,
    ADD COLUMN plan text COLLATE "C",
    ADD COLUMN prefix text COLLATE "C" NOT NULL DEFAULT '' CHECK (prefix ~ '^[0-9]{0,15}$'),
    ADD COLUMN sender_kind text COLLATE "C" CHECK (sender_kind IN ('name', 'short_code', 'number')),
    ADD COLUMN carrier_class text COLLATE "C",
    ADD COLUMN tiers json NOT NULL DEFAULT '[]', -- [[from segments, micros], ...]
    ADD CHECK (account_id IS NULL OR plan IS NULL);
CREATE UNIQUE INDEX rates_by_position ON billing.rates (position);

-- A tally is of one rate, so that each line of an invoice names what it was charged by.
ALTER TABLE billing.tallies
    ADD COLUMN direction text COLLATE "C" NOT NULL DEFAULT 'outbound',
    ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'usage' CHECK (kind IN ('usage', 'included')),
    ADD COLUMN rate_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'; -- of those before: not kept
DROP INDEX billing.tallies_open;
CREATE UNIQUE INDEX tallies_open
    ON billing.tallies (account_id, month, direction, country, currency, kind, rate_id, unit_micros)
    WHERE invoice_id IS NULL;
CREATE INDEX tallies_unbilled ON billing.tallies (month, account_id) WHERE invoice_id IS NULL;
