-- All that billing's rates depend on, so that a price shown before sending is chosen as billing will choose it. `position`
-- counts in the order of commits, since whoever reads billing's outbox holds its place in it until then: what is behind
-- a position is all that is new.
ALTER TABLE messages.rates
    ADD COLUMN position bigint GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN direction text COLLATE "C" NOT NULL DEFAULT 'outbound',
    ADD COLUMN account_id uuid,
    ADD COLUMN plan text COLLATE "C",
    ADD COLUMN prefix text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN sender_kind text COLLATE "C",
    ADD COLUMN carrier_class text COLLATE "C",
    ADD COLUMN tiers json NOT NULL DEFAULT '[]'; -- [[from segments, micros], ...]
CREATE UNIQUE INDEX rates_by_position ON messages.rates (position);
DROP INDEX messages.rates_by_country;

ALTER TABLE messages.account_currencies
    ADD COLUMN plans json NOT NULL DEFAULT '[]'; -- [[first day of a month, plan from then on or null], ...]
