-- The whole life of an invoice: drafts, what it is made of, payments, credit notes, and who is named on it.

-- What an invoice is made of, beside tallies and the plan.

-- A change holds for invoices that are opened from then on; the audit log has what was before.
CREATE TABLE billing.taxes (
    account_id uuid NOT NULL,
    name text NOT NULL,
    rate_ppm integer NOT NULL CHECK (rate_ppm BETWEEN 0 AND 1000000),
    PRIMARY KEY (account_id, name)
);

-- Of both months the invoices have it too; `until_month` NULL: for good.
CREATE TABLE billing.discounts (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    name text NOT NULL,
    rate_ppm integer CHECK (rate_ppm BETWEEN 1 AND 1000000),
    amount_micros bigint CHECK (amount_micros > 0),
    from_month date NOT NULL CHECK (extract(day FROM from_month) = 1),
    until_month date CHECK (extract(day FROM until_month) = 1),
    CHECK ((rate_ppm IS NULL) <> (amount_micros IS NULL))
);
CREATE INDEX discounts_of_account ON billing.discounts (account_id);

-- What a customer wants to be called on invoices; those that are open keep what they said.
CREATE TABLE billing.profiles (
    account_id uuid PRIMARY KEY,
    legal_name text,
    address text[] NOT NULL DEFAULT '{}',
    tax_id text,
    email text,
    locale text,
    updated_at timestamptz NOT NULL
);

-- Who may change that, as auth-service last said it: people whose role is `owner`. NULL: who was taken out.
CREATE TABLE billing.people (
    user_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    role text,
    sequence integer NOT NULL
);

-- Months that were closed for all accounts after their end. What is charged in one afterwards is an adjustment.
CREATE TABLE billing.closed_months (
    month date PRIMARY KEY CHECK (extract(day FROM month) = 1),
    closed_at timestamptz NOT NULL
);

-- Invoices.

ALTER TABLE billing.invoices
    DROP CONSTRAINT invoices_status_check,
    ADD CHECK (status IN ('draft', 'open', 'paid', 'void', 'uncollectible')),
    ADD COLUMN paid_micros bigint NOT NULL DEFAULT 0,
    ADD COLUMN credited_micros bigint NOT NULL DEFAULT 0,
    ADD COLUMN plan text,
    ADD COLUMN payment text NOT NULL DEFAULT 'postpaid' CHECK (payment IN ('postpaid', 'prepaid')),
    ADD COLUMN seller json, -- both as they were when it was opened
    ADD COLUMN customer json,
    ADD COLUMN uncollectible_at timestamptz,
    ADD COLUMN overdue_told_at timestamptz,
    ADD COLUMN refreshed_at timestamptz, -- a draft's lines are of then
    ADD COLUMN sequence integer NOT NULL DEFAULT 0, -- of its events
    ADD CHECK (status <> 'uncollectible' OR uncollectible_at IS NOT NULL),
    ADD CHECK (paid_micros <= greatest(total_micros, 0)),
    ADD CHECK (credited_micros BETWEEN 0 AND greatest(total_micros, 0));
-- for the filters of lists, for closing and for telling what is overdue
CREATE INDEX invoices_by_period ON billing.invoices (period_start, account_id);
CREATE INDEX invoices_overdue ON billing.invoices (due_at) WHERE status = 'open' AND overdue_told_at IS NULL;

ALTER TABLE billing.invoice_lines
    ADD COLUMN kind text NOT NULL DEFAULT 'usage'
        CHECK (kind IN ('usage', 'included', 'base_fee', 'minimum', 'discount', 'adjustment')),
    ADD COLUMN direction text COLLATE "C" CHECK (direction IN ('outbound', 'inbound')),
    ADD COLUMN rate_id uuid,
    ADD COLUMN month date, -- an adjustment's: that of the charges
    ADD COLUMN detail text; -- the name of the plan or of the discount

CREATE TABLE billing.invoice_taxes (
    invoice_id uuid NOT NULL REFERENCES billing.invoices,
    position integer NOT NULL,
    name text NOT NULL,
    rate_ppm integer NOT NULL,
    base_micros bigint NOT NULL,
    amount_micros bigint NOT NULL,
    PRIMARY KEY (invoice_id, position)
);
CREATE TRIGGER invoice_taxes_guarded BEFORE INSERT OR UPDATE OR DELETE ON billing.invoice_taxes
    FOR EACH ROW EXECUTE FUNCTION billing.guard_invoice_line();

-- Which line of its invoice a tally is on; none where it came to nothing.
ALTER TABLE billing.tallies ADD COLUMN line integer;
-- The charges of a line, page by page. Few tallies are written to at a time and message ids grow, so it is a few pages
-- that are written to; docs/decisions/0022-invoices.md has what it costs.
CREATE INDEX charges_of_tally ON billing.charges (tally_id, message_id);
CREATE INDEX charges_given_back ON billing.charges (reversal_tally_id, message_id) WHERE reversal_tally_id IS NOT NULL;

-- What an invoice is paid by: what an operator recorded, and what was there when it was opened (`balance`).
CREATE TABLE billing.payments (
    id uuid PRIMARY KEY,
    invoice_id uuid NOT NULL REFERENCES billing.invoices,
    account_id uuid NOT NULL,
    amount_micros bigint NOT NULL CHECK (amount_micros <> 0),
    method text NOT NULL,
    reference text,
    paid_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (invoice_id, reference)
);
CREATE INDEX payments_of_invoice ON billing.payments (invoice_id, id);
CREATE TRIGGER payments_append_only BEFORE UPDATE OR DELETE ON billing.payments
    FOR EACH ROW EXECUTE FUNCTION billing.refuse_change();

CREATE TABLE billing.credit_notes (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    invoice_id uuid NOT NULL REFERENCES billing.invoices,
    number text NOT NULL UNIQUE,
    reason text NOT NULL,
    subtotal_micros bigint NOT NULL CHECK (subtotal_micros >= 0),
    tax_micros bigint NOT NULL CHECK (tax_micros >= 0),
    total_micros bigint NOT NULL CHECK (total_micros > 0 AND total_micros = subtotal_micros + tax_micros),
    to_balance_micros bigint NOT NULL CHECK (to_balance_micros BETWEEN 0 AND total_micros),
    issued_at timestamptz NOT NULL
);
CREATE INDEX credit_notes_of_account ON billing.credit_notes (account_id, id);
CREATE INDEX credit_notes_of_invoice ON billing.credit_notes (invoice_id, id);
CREATE TABLE billing.credit_note_lines (
    credit_note_id uuid NOT NULL REFERENCES billing.credit_notes,
    position integer NOT NULL,
    description text NOT NULL,
    invoice_line integer, -- which line it credits; NULL: the invoice as a whole
    amount_micros bigint NOT NULL,
    PRIMARY KEY (credit_note_id, position)
);
CREATE TABLE billing.credit_note_taxes (
    credit_note_id uuid NOT NULL REFERENCES billing.credit_notes,
    position integer NOT NULL, -- that of the invoice's tax
    name text NOT NULL,
    rate_ppm integer NOT NULL,
    base_micros bigint NOT NULL,
    amount_micros bigint NOT NULL,
    PRIMARY KEY (credit_note_id, position)
);
CREATE TRIGGER credit_notes_append_only BEFORE UPDATE OR DELETE ON billing.credit_notes
    FOR EACH ROW EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER credit_note_lines_append_only BEFORE UPDATE OR DELETE ON billing.credit_note_lines
    FOR EACH ROW EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER credit_note_taxes_append_only BEFORE UPDATE OR DELETE ON billing.credit_note_taxes
    FOR EACH ROW EXECUTE FUNCTION billing.refuse_change();

-- Invoices from before: what was paid was paid at once, and the customer's name is the snapshot.
ALTER TABLE billing.invoices DISABLE TRIGGER invoices_guarded;
UPDATE billing.invoices SET paid_micros = CASE WHEN status = 'paid' THEN total_micros ELSE 0 END,
    customer = json_build_object('name', customer_name);
ALTER TABLE billing.invoices ENABLE TRIGGER invoices_guarded;
INSERT INTO billing.payments (id, invoice_id, account_id, amount_micros, method, paid_at)
SELECT id, id, account_id, total_micros, 'other', paid_at FROM billing.invoices
WHERE status = 'paid' AND total_micros <> 0;
ALTER TABLE billing.invoices DROP COLUMN customer_name;
ALTER TABLE billing.invoice_lines DISABLE TRIGGER invoice_lines_guarded;
UPDATE billing.invoice_lines SET direction = 'outbound';
ALTER TABLE billing.invoice_lines ENABLE TRIGGER invoice_lines_guarded;

-- An invoice that was opened is a document: only what is paid or credited of it and its status move, along these ways:
-- open -> paid | void | uncollectible, and uncollectible -> paid where money comes after all. A paid one may still be
-- credited. Void is only what nothing was paid or credited of, paid only what is.
CREATE OR REPLACE FUNCTION billing.guard_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moving constant text[] :=
        '{status,paid_micros,credited_micros,paid_at,voided_at,uncollectible_at,overdue_told_at,sequence}';
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
        IF NEW.status = 'open' AND NEW.tax_micros <> (
            SELECT coalesce(sum(amount_micros), 0) FROM billing.invoice_taxes WHERE invoice_id = NEW.id
        ) THEN
            RAISE EXCEPTION 'invoice %: the taxes do not add up', NEW.number
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - moving = to_jsonb(OLD) - moving
        AND ((OLD.status = 'open' AND NEW.status IN ('open', 'paid', 'void', 'uncollectible'))
             OR (OLD.status = 'uncollectible' AND NEW.status IN ('uncollectible', 'paid'))
             OR (OLD.status = 'paid' AND NEW.status = 'paid' AND NEW.paid_at = OLD.paid_at
                 AND NEW.paid_micros = OLD.paid_micros))
        AND (NEW.paid_micros >= OLD.paid_micros OR OLD.sequence = 0) -- when it is opened anything may be settled
        AND NEW.credited_micros >= OLD.credited_micros
        AND NEW.sequence >= OLD.sequence
        AND (NEW.status <> 'paid' OR NEW.paid_micros + NEW.credited_micros >= NEW.total_micros)
        AND (NEW.status <> 'void' OR (NEW.paid_micros = 0 AND NEW.credited_micros = 0))
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'invoice % is %: it cannot be changed', OLD.number, OLD.status
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE FUNCTION billing.refuse_ready_made() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an invoice begins as a draft' USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER invoices_begin_as_drafts BEFORE INSERT ON billing.invoices
    FOR EACH ROW WHEN (NEW.status <> 'draft') EXECUTE FUNCTION billing.refuse_ready_made();

-- What an invoice says was paid and credited is what its payments and credit notes add up to, at every commit.
CREATE FUNCTION billing.check_settlement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    settled constant uuid := (to_jsonb(NEW) ->> TG_ARGV[0])::uuid;
BEGIN
    IF EXISTS (
        SELECT FROM billing.invoices AS invoice
        WHERE invoice.id = settled AND (
            invoice.paid_micros <> (
                SELECT coalesce(sum(amount_micros), 0) FROM billing.payments WHERE invoice_id = settled)
            OR invoice.credited_micros <> (
                SELECT coalesce(sum(total_micros), 0) FROM billing.credit_notes WHERE invoice_id = settled))
    ) THEN
        RAISE EXCEPTION 'invoice %: payments and credit notes do not add up', settled
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER invoices_settled AFTER UPDATE OF paid_micros, credited_micros ON billing.invoices
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing.check_settlement('id');
CREATE CONSTRAINT TRIGGER payments_settled AFTER INSERT ON billing.payments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing.check_settlement('invoice_id');
CREATE CONSTRAINT TRIGGER credit_notes_settled AFTER INSERT ON billing.credit_notes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing.check_settlement('invoice_id');

-- So with a credit note: its lines and taxes add up, and none comes later.
CREATE FUNCTION billing.check_credit_note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    issued constant uuid := (to_jsonb(NEW) ->> TG_ARGV[0])::uuid;
BEGIN
    IF EXISTS (
        SELECT FROM billing.credit_notes AS note
        WHERE note.id = issued AND (
            note.subtotal_micros <> (
                SELECT coalesce(sum(amount_micros), 0) FROM billing.credit_note_lines WHERE credit_note_id = issued)
            OR note.tax_micros <> (
                SELECT coalesce(sum(amount_micros), 0) FROM billing.credit_note_taxes WHERE credit_note_id = issued))
    ) THEN
        RAISE EXCEPTION 'credit note %: lines and taxes do not add up', issued
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER credit_notes_add_up AFTER INSERT ON billing.credit_notes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing.check_credit_note('id');
CREATE CONSTRAINT TRIGGER credit_note_lines_add_up AFTER INSERT ON billing.credit_note_lines
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing.check_credit_note('credit_note_id');
CREATE CONSTRAINT TRIGGER credit_note_taxes_add_up AFTER INSERT ON billing.credit_note_taxes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing.check_credit_note('credit_note_id');
