-- What sms-orchestrator accepts and dispatches and message-store shows.

SELECT storage.create_outbox('messages');

-- The least UUIDv7 of a time; months of messages are ranges of ids.
CREATE FUNCTION messages.first_id(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT AS
$$ SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid $$;

-- created_at is the id's own time. Statuses passed are told by the times; no row is written for an event.
-- No index holds a column that changes, so that every update stays on its page (HOT).
CREATE TABLE messages.messages (
    id uuid NOT NULL PRIMARY KEY,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    credential text NOT NULL,
    direction text NOT NULL DEFAULT 'outbound',
    recipient text NOT NULL,
    sender text,
    body text,
    encoding text NOT NULL,
    segments smallint NOT NULL,
    country text,
    reference text,
    validity_s integer,
    send_at timestamptz,
    status text NOT NULL,
    sequence smallint NOT NULL DEFAULT 1,
    sent_at timestamptz,
    unknown_at timestamptz,
    completed_at timestamptz,
    error_code text,
    error_detail text,
    price_micros bigint,
    currency text,
    carrier text,
    resubmitted boolean NOT NULL DEFAULT false
) PARTITION BY RANGE (id);
CREATE INDEX messages_of_account ON messages.messages (account_id, id);
CREATE INDEX messages_by_reference ON messages.messages (account_id, reference, id) WHERE reference IS NOT NULL;

-- What no month has claimed; empty unless the clock jumps.
CREATE TABLE messages.messages_other PARTITION OF messages.messages DEFAULT;

-- Rows that messages_other took meanwhile move along, or the new partition would be refused.
CREATE FUNCTION messages.make_partition(month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text := 'messages_' || to_char(month, 'YYYY_MM');
    first uuid := messages.first_id(date_trunc('month', month::timestamp) AT TIME ZONE 'UTC');
    beyond uuid := messages.first_id((date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC');
BEGIN
    IF to_regclass(format('messages.%I', name)) IS NOT NULL THEN
        RETURN;
    END IF;
    LOCK TABLE messages.messages_other IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE messages.%I (LIKE messages.messages INCLUDING DEFAULTS)
                    WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.1)', name);
    EXECUTE format('WITH moved AS (DELETE FROM messages.messages_other WHERE id >= $1 AND id < $2 RETURNING *)
                    INSERT INTO messages.%I SELECT * FROM moved', name) USING first, beyond;
    EXECUTE format('ALTER TABLE messages.messages ATTACH PARTITION messages.%I FOR VALUES FROM (%L) TO (%L)',
                   name, first, beyond);
END
$$;
SELECT messages.make_partition((date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => n))::date)
FROM generate_series(0, 2) AS n;

-- What is still to be submitted. due_at is the lease too: a claim moves it on, before any I/O. in_doubt: the newest
-- claim has not had its end written, so what it submitted may have been taken.
CREATE TABLE messages.dispatch (
    message_id uuid PRIMARY KEY,
    due_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    throttles integer NOT NULL DEFAULT 0,
    claims integer NOT NULL DEFAULT 0,
    in_doubt boolean NOT NULL DEFAULT false
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX dispatch_due ON messages.dispatch (due_at);

-- What a carrier took or refused, one row a segment; kept while a receipt may still come.
CREATE TABLE messages.submissions (
    message_id uuid NOT NULL,
    part smallint NOT NULL,
    carrier text NOT NULL,
    carrier_message_id text,
    state text NOT NULL,
    error_code text,
    detail text,
    at timestamptz NOT NULL,
    PRIMARY KEY (message_id, part)
) WITH (fillfactor = 90);
CREATE INDEX submissions_by_carrier ON messages.submissions (carrier, carrier_message_id);

-- Receipts that came before the submit they belong to was known.
CREATE TABLE messages.parked_receipts (
    id uuid PRIMARY KEY,
    carrier text NOT NULL,
    carrier_message_id text NOT NULL,
    state text NOT NULL,
    error_code text,
    detail text,
    at timestamptz NOT NULL,
    keep_until timestamptz NOT NULL
);
CREATE INDEX parked_receipts_by_carrier ON messages.parked_receipts (carrier, carrier_message_id);

-- auth-service's word on accounts, as far as sending goes. No row: active, every country, no cap.
CREATE TABLE messages.accounts (
    account_id uuid PRIMARY KEY,
    status text NOT NULL,
    countries text[],
    daily_cap integer,
    sequence integer NOT NULL
);

-- Billing's rates and its accounts' currencies, as far as showing a price before sending goes. The default rate is the
-- one that billing begins with, of which no event tells.
CREATE TABLE messages.rates (
    id uuid PRIMARY KEY,
    currency text COLLATE "C" NOT NULL,
    country text COLLATE "C" NOT NULL,
    amount_micros bigint NOT NULL,
    valid_from timestamptz NOT NULL
);
CREATE INDEX rates_by_country ON messages.rates (currency, country, valid_from, id);
INSERT INTO messages.rates (id, currency, country, amount_micros, valid_from)
VALUES ('00000000-0000-7000-8000-000000000001', 'USD', '*', 45000, '1970-01-01T00:00:00Z');
CREATE TABLE messages.account_currencies (
    account_id uuid PRIMARY KEY,
    currency text COLLATE "C" NOT NULL,
    sequence integer NOT NULL
);

-- Messages of capped accounts by UTC day.
CREATE TABLE messages.daily_counts (
    account_id uuid NOT NULL,
    day date NOT NULL,
    messages integer NOT NULL,
    PRIMARY KEY (account_id, day)
) WITH (fillfactor = 50);

CREATE TABLE messages.idempotency_keys (
    account_id uuid NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    body_hash bytea NOT NULL,
    response text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, route, key)
);
CREATE INDEX idempotency_keys_by_age ON messages.idempotency_keys (created_at);

-- Carriers as the worker that holds them last saw them.
CREATE TABLE messages.carriers (
    name text PRIMARY KEY,
    kind text NOT NULL,
    bound boolean NOT NULL,
    window_size integer NOT NULL,
    outstanding integer NOT NULL,
    detail text NOT NULL,
    submitted bigint NOT NULL DEFAULT 0,
    resubmitted bigint NOT NULL DEFAULT 0,
    seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
