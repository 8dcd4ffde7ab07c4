-- Accounts' books, in double entry: what moved (debit positive, credit negative), never changed, and where each book
-- stands. `balance` is what a customer has with us, so that in their favour it is negative here.
CREATE TABLE billing.ledger_transactions (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    currency text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    kind text COLLATE "C" NOT NULL CHECK (kind IN (
        'top_up', 'correction', 'usage', 'invoice', 'payment', 'void', 'uncollectible', 'credit_note')),
    reference text COLLATE "C", -- usage has none: a charge is made once
    invoice_id uuid,
    note text,
    actor text,
    at timestamptz NOT NULL
);
CREATE UNIQUE INDEX ledger_transactions_once ON billing.ledger_transactions (account_id, kind, reference)
    WHERE reference IS NOT NULL;
CREATE INDEX ledger_transactions_of_account ON billing.ledger_transactions (account_id, id);
CREATE INDEX ledger_transactions_of_invoice ON billing.ledger_transactions (invoice_id) WHERE invoice_id IS NOT NULL;

-- `position` counts in the order in which an account's entries were made, since its books are locked meanwhile;
-- `after_micros` is where the book stood then.
CREATE TABLE billing.ledger_entries (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id uuid NOT NULL REFERENCES billing.ledger_transactions,
    account_id uuid NOT NULL,
    book text COLLATE "C" NOT NULL CHECK (book IN (
        'cash', 'balance', 'receivable', 'usage', 'revenue', 'tax', 'uncollectible')),
    amount_micros bigint NOT NULL CHECK (amount_micros <> 0),
    after_micros bigint NOT NULL,
    UNIQUE (transaction_id, book)
);
CREATE INDEX ledger_entries_of_account ON billing.ledger_entries (account_id, book, position);

CREATE TABLE billing.ledger_balances (
    account_id uuid NOT NULL,
    book text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    amount_micros bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, book)
) WITH (fillfactor = 50);

CREATE TRIGGER ledger_transactions_append_only BEFORE UPDATE OR DELETE ON billing.ledger_transactions
    FOR EACH ROW EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER ledger_transactions_no_truncate BEFORE TRUNCATE ON billing.ledger_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON billing.ledger_entries
    FOR EACH ROW EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON billing.ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

CREATE FUNCTION billing.check_ledger_sum() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(amount_micros) FROM billing.ledger_entries WHERE transaction_id = NEW.transaction_id) <> 0 THEN
        RAISE EXCEPTION 'transaction % does not balance', NEW.transaction_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER ledger_sum_is_zero AFTER INSERT ON billing.ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing.check_ledger_sum();

-- What accounts have spent, by the month of the charge, and what is held for messages on their way; of all accounts, so
-- that a limit counts what was spent before it was set.
CREATE TABLE billing.spending_months (
    account_id uuid NOT NULL,
    month date NOT NULL,
    spent_micros bigint NOT NULL,
    held_micros bigint NOT NULL,
    PRIMARY KEY (account_id, month)
) WITH (fillfactor = 50);
INSERT INTO billing.spending_months (account_id, month, spent_micros, held_micros)
SELECT account_id, month, sum(amount_micros), 0 FROM billing.tallies GROUP BY account_id, month;

-- Messages on their way of accounts that are held to a balance or a limit, at what they will probably cost.
CREATE TABLE billing.holds (
    message_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    month date NOT NULL,
    amount_micros bigint NOT NULL,
    until timestamptz NOT NULL -- by then it has ended, whatever was heard of it
);
CREATE INDEX holds_by_end ON billing.holds (until);

-- What holds accounts back, and what messages was told of it last. `sequence` is that of account.spending.
CREATE TABLE billing.spending (
    account_id uuid PRIMARY KEY,
    limit_micros bigint CHECK (limit_micros >= 0), -- the operator's
    own_limit_micros bigint CHECK (own_limit_micros >= 0), -- the customer's
    top_up_id uuid, -- the last one, and the balance after it
    top_up_micros bigint,
    status text COLLATE "C" NOT NULL DEFAULT 'ok'
        CHECK (status IN ('ok', 'insufficient_balance', 'spending_limit_reached')),
    exhausted boolean NOT NULL DEFAULT false,
    until timestamptz,
    sequence integer NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE INDEX spending_until ON billing.spending (until) WHERE until IS NOT NULL;

-- Alerts given: once for each threshold of a month's limit, or of the balance after a top-up.
CREATE TABLE billing.alerts (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('spending_limit', 'balance')),
    period text COLLATE "C" NOT NULL, -- the month, or the top-up's id
    limit_micros bigint NOT NULL, -- what 100 % is
    threshold_percent integer NOT NULL,
    at timestamptz NOT NULL,
    UNIQUE (account_id, kind, period, limit_micros, threshold_percent)
);
