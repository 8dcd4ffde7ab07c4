-- What accounts pay besides the price of a segment, and how: plans hold whole UTC months. Both tables are append-only:
-- of rows that hold in a month the one that was added last counts.

CREATE TABLE billing.plans (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$' AND name <> 'none'),
    valid_from date NOT NULL CHECK (extract(day FROM valid_from) = 1),
    currency text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    base_fee_micros bigint NOT NULL CHECK (base_fee_micros >= 0),
    included_segments bigint NOT NULL CHECK (included_segments >= 0),
    tiers json NOT NULL DEFAULT '[]', -- [[from segments, millionths off], ...]
    minimum_micros bigint NOT NULL CHECK (minimum_micros >= 0),
    billed_on text NOT NULL CHECK (billed_on IN ('accepted', 'sent', 'delivered')),
    payment text NOT NULL CHECK (payment IN ('postpaid', 'prepaid')),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX plans_by_name ON billing.plans (name, position);
CREATE TRIGGER plans_append_only BEFORE UPDATE OR DELETE ON billing.plans
    FOR EACH ROW EXECUTE FUNCTION billing.refuse_change();

-- plan: none from that month on where it is null.
CREATE TABLE billing.subscriptions (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id uuid NOT NULL,
    from_month date NOT NULL CHECK (extract(day FROM from_month) = 1),
    plan text COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX subscriptions_of_account ON billing.subscriptions (account_id, position);
CREATE TRIGGER subscriptions_append_only BEFORE UPDATE OR DELETE ON billing.subscriptions
    FOR EACH ROW EXECUTE FUNCTION billing.refuse_change();

-- How often other services were told of an account.
ALTER TABLE billing.accounts ADD COLUMN sequence integer NOT NULL DEFAULT 1;
