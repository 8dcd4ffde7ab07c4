-- Charges by plans, directions and what a message is billed on, and usage by sender, API key and reference.

-- tally_id: none while nothing is billed (a message that is billed on its delivery). reversal_tally_id: the tally that
-- gave the amount back, as of a message that was billed when it was accepted and was never sent: it costs nothing now.
-- list_micros: the rate's price, before what the plan takes off; null of charges before plans, where unit_micros is it.
ALTER TABLE billing.charges RENAME COLUMN sent_at TO at;
ALTER TABLE billing.charges
    ALTER COLUMN tally_id DROP NOT NULL,
    ADD COLUMN reversal_tally_id uuid,
    ADD COLUMN direction text COLLATE "C" NOT NULL DEFAULT 'outbound',
    ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'usage',
    ADD COLUMN billed_on text COLLATE "C" NOT NULL DEFAULT 'sent',
    ADD COLUMN list_micros bigint,
    ADD COLUMN sender text COLLATE "C",
    ADD COLUMN api_key_id uuid,
    ADD COLUMN reference text COLLATE "C",
    ADD COLUMN carrier_class text COLLATE "C",
    ADD CHECK (tally_id IS NOT NULL OR (amount_micros = 0 AND reversal_tally_id IS NULL));

-- What an account was charged in a month, whichever invoice has it: tiers and included segments go by it.
CREATE INDEX tallies_of_month ON billing.tallies (account_id, month);

-- Canceled messages too: one that was billed on its acceptance is not billed again by an event that comes late.
ALTER TABLE billing.refusals ADD COLUMN status text COLLATE "C" NOT NULL DEFAULT 'failed';

-- Usage by one thing at a time: 'sender', 'api_key' or 'reference', moved along with usage_quarters. Not by status, so
-- that a receipt moves nothing here. What has no value, or one that is not named, is what all usage has besides.
CREATE TABLE billing.usage_groups (
    account_id uuid NOT NULL,
    dimension text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL CHECK (extract(epoch FROM at) % 900 = 0),
    value text COLLATE "C" NOT NULL,
    messages bigint NOT NULL,
    segments bigint NOT NULL,
    amount_micros bigint NOT NULL,
    PRIMARY KEY (account_id, dimension, at, value)
) WITH (fillfactor = 70);

-- All usage by the quarter of an hour is what the outcomes have, less the refused and with the received: so questions
-- about all of it read one row for each, too.
ALTER TABLE billing.outcome_quarters
    ADD COLUMN refused bigint NOT NULL DEFAULT 0,
    ADD COLUMN received bigint NOT NULL DEFAULT 0,
    ADD COLUMN received_segments bigint NOT NULL DEFAULT 0,
    ADD COLUMN received_micros bigint NOT NULL DEFAULT 0;
UPDATE billing.outcome_quarters AS outcome SET refused = known.refused
FROM (SELECT account_id, at, count(*) AS refused FROM billing.refusals GROUP BY account_id, at) AS known
WHERE outcome.account_id = known.account_id AND outcome.at = known.at;

-- The values that are named: the first so many of an account, a month and a dimension.
CREATE TABLE billing.usage_values (
    account_id uuid NOT NULL,
    month date NOT NULL,
    dimension text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    PRIMARY KEY (account_id, month, dimension, value)
);
