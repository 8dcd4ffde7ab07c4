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
