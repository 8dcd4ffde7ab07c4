-- Rates, what each sent message costs, usage by quarter of an hour, and invoices. All money is integer micros of its
-- currency.

SELECT storage.create_outbox('billing');

CREATE FUNCTION billing.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is never changed once written', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
$$;

-- Price of a segment. Append-only: a correction is a later row of the same valid_from, so that what a charge's rate_id
-- names always says what was charged.
CREATE TABLE billing.rates (
    id uuid PRIMARY KEY,
    currency text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    country text COLLATE "C" NOT NULL CHECK (country = '*' OR country ~ '^[A-Z]{2}$'),
    amount_micros bigint NOT NULL CHECK (amount_micros >= 0),
    valid_from timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rates_by_country ON billing.rates (currency, country, valid_from, id);
CREATE TRIGGER rates_append_only BEFORE UPDATE OR DELETE ON billing.rates
    FOR EACH ROW EXECUTE FUNCTION billing.refuse_change();
INSERT INTO billing.rates (id, currency, country, amount_micros, valid_from)
VALUES ('00000000-0000-7000-8000-000000000001', 'USD', '*', 45000, '1970-01-01T00:00:00Z');

-- The currency an account is billed in; fixed by the row's existence, which the first charge or an operator makes.
CREATE TABLE billing.accounts (
    account_id uuid PRIMARY KEY,
    currency text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$')
);

-- What invoices call an account: its name, as auth-service last said it.
CREATE TABLE billing.customers (
    account_id uuid PRIMARY KEY,
    name text NOT NULL,
    sequence integer NOT NULL
);

-- Numbers without gaps: the row is locked until the invoices that take its numbers are committed.
CREATE TABLE billing.series (
    name text PRIMARY KEY,
    last integer NOT NULL CHECK (last >= 0)
);

CREATE TABLE billing.invoices (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    number text UNIQUE,
    status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'open', 'paid', 'void')),
    currency text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL CHECK (period_end > period_start),
    subtotal_micros bigint NOT NULL,
    tax_micros bigint NOT NULL DEFAULT 0,
    total_micros bigint NOT NULL CHECK (total_micros = subtotal_micros + tax_micros),
    issued_at timestamptz,
    due_at timestamptz,
    paid_at timestamptz,
    voided_at timestamptz,
    customer_name text, -- as it was when the invoice was opened
    UNIQUE (account_id, period_start),
    CHECK (status = 'draft' OR (number IS NOT NULL AND issued_at IS NOT NULL AND due_at IS NOT NULL)),
    CHECK ((status = 'paid') = (paid_at IS NOT NULL)),
    CHECK ((status = 'void') = (voided_at IS NOT NULL))
);
CREATE INDEX invoices_of_account ON billing.invoices (account_id, id);

CREATE TABLE billing.invoice_lines (
    invoice_id uuid NOT NULL REFERENCES billing.invoices,
    position integer NOT NULL,
    description text NOT NULL,
    country text COLLATE "C",
    messages bigint NOT NULL,
    segments bigint NOT NULL,
    unit_micros bigint NOT NULL,
    amount_micros bigint NOT NULL,
    PRIMARY KEY (invoice_id, position)
);

-- An invoice that was opened is a document: only open -> paid and open -> void, and nothing else of it ever changes.
CREATE FUNCTION billing.guard_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'draft' THEN
        IF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
        IF NEW.status NOT IN ('draft', 'open') THEN
            RAISE EXCEPTION 'a draft is opened before it is %', NEW.status
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF NEW.status = 'open' AND NEW.subtotal_micros <> (
            SELECT coalesce(sum(amount_micros), 0) FROM billing.invoice_lines WHERE invoice_id = NEW.id
        ) THEN
            RAISE EXCEPTION 'invoice %: the lines do not add up to the subtotal', NEW.number
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.status = 'open' AND NEW.status IN ('paid', 'void')
        AND to_jsonb(NEW) - '{status,paid_at,voided_at}'::text[] = to_jsonb(OLD) - '{status,paid_at,voided_at}'::text[]
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'invoice % is %: it cannot be changed', OLD.number, OLD.status
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER invoices_guarded BEFORE UPDATE OR DELETE ON billing.invoices
    FOR EACH ROW EXECUTE FUNCTION billing.guard_invoice();

CREATE FUNCTION billing.guard_invoice_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND (SELECT status FROM billing.invoices WHERE id = OLD.invoice_id) <> 'draft'
        OR TG_OP <> 'DELETE' AND (SELECT status FROM billing.invoices WHERE id = NEW.invoice_id) <> 'draft'
    THEN
        RAISE EXCEPTION 'the lines of an invoice that was opened cannot be changed'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER invoice_lines_guarded BEFORE INSERT OR UPDATE OR DELETE ON billing.invoice_lines
    FOR EACH ROW EXECUTE FUNCTION billing.guard_invoice_line();

-- What was charged, by account, month of sending, country and price. A tally is open until an invoice takes it; later
-- charges then open a new one. Closing thus touches a few rows an account, never its messages.
CREATE TABLE billing.tallies (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    month date NOT NULL,
    country text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    unit_micros bigint NOT NULL,
    messages bigint NOT NULL,
    segments bigint NOT NULL,
    amount_micros bigint NOT NULL CHECK (amount_micros = segments * unit_micros),
    invoice_id uuid REFERENCES billing.invoices
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX tallies_open ON billing.tallies (account_id, month, country, currency, unit_micros)
    WHERE invoice_id IS NULL;
CREATE INDEX tallies_of_invoice ON billing.tallies (invoice_id) WHERE invoice_id IS NOT NULL;
CREATE TRIGGER tallies_guarded BEFORE UPDATE ON billing.tallies
    FOR EACH ROW WHEN (OLD.invoice_id IS NOT NULL) EXECUTE FUNCTION billing.refuse_change();

-- One row a sent message; its invoice is its tally's. No foreign keys: tally and rate are written or read in the same
-- transaction, and two look-ups a row would double what a charge costs. fillfactor: its status moves once or twice.
CREATE TABLE billing.charges (
    message_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    tally_id uuid NOT NULL,
    rate_id uuid NOT NULL,
    sent_at timestamptz NOT NULL,
    country text COLLATE "C" NOT NULL,
    segments integer NOT NULL CHECK (segments > 0),
    unit_micros bigint NOT NULL,
    amount_micros bigint NOT NULL CHECK (amount_micros = segments * unit_micros),
    currency text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    sequence integer NOT NULL
) WITH (fillfactor = 85);

-- What usage is read from: the sum of the charges, moved by differences in the transaction that moves the charges.
-- By quarter of an hour, since zones lie whole quarters apart: each has days of whole rows.
-- No CHECK (messages >= 0): ON CONFLICT DO UPDATE would apply it to the difference, which may be negative.
CREATE TABLE billing.usage_quarters (
    account_id uuid NOT NULL,
    at timestamptz NOT NULL CHECK (extract(epoch FROM at) % 900 = 0),
    country text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    messages bigint NOT NULL,
    segments bigint NOT NULL,
    amount_micros bigint NOT NULL,
    PRIMARY KEY (account_id, at, country, status)
) WITH (fillfactor = 50);

-- Messages that no carrier took: they cost nothing. A row each, so that one told twice is counted once.
CREATE TABLE billing.refusals (
    message_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    at timestamptz NOT NULL,
    country text COLLATE "C" NOT NULL
);

-- What summaries are read from: one row for a quarter of an hour, whatever countries and statuses it has; usage and
-- refusals together, moved along with them. A month of a busy account is some thousand rows here.
CREATE TABLE billing.outcome_quarters (
    account_id uuid NOT NULL,
    at timestamptz NOT NULL CHECK (extract(epoch FROM at) % 900 = 0),
    messages bigint NOT NULL,
    delivered bigint NOT NULL,
    failed bigint NOT NULL,
    segments bigint NOT NULL,
    amount_micros bigint NOT NULL,
    PRIMARY KEY (account_id, at)
) WITH (fillfactor = 50);
