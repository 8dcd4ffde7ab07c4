-- webhook-dispatcher: endpoints, the events they want, what is still to be delivered and what has been.

SELECT storage.create_outbox('webhooks');

CREATE TABLE webhooks.endpoints (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    url text NOT NULL,
    events text[] NOT NULL,
    description text,
    enabled boolean NOT NULL,
    disabled_reason text,
    -- sealed; the previous secret signs along until previous_until
    secret bytea NOT NULL,
    previous_secret bytea,
    previous_until timestamptz,
    -- sealed JSON object of names and values
    headers bytea,
    -- counts changes, so that a worker opens sealed values once a version
    version integer NOT NULL DEFAULT 1,
    -- what was pending before this moment is dropped: the endpoint was disabled then
    dropped_before timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- kept until its deliveries are pruned; nothing shows it any more
    deleted_at timestamptz
);
CREATE INDEX endpoints_account ON webhooks.endpoints (account_id, id) WHERE deleted_at IS NULL;
CREATE INDEX endpoints_deleted ON webhooks.endpoints (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE webhooks.idempotency_keys (
    account_id uuid NOT NULL,
    key text NOT NULL,
    body_hash bytea NOT NULL,
    endpoint_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, key)
);
CREATE INDEX idempotency_keys_created ON webhooks.idempotency_keys (created_at);

-- An event that some endpoint wanted, with the body as it is sent; once for all its deliveries and attempts. Written in
-- one transaction with its pending deliveries, so that an event that is here is never fanned out again.
CREATE TABLE webhooks.events (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    type text NOT NULL,
    at timestamptz NOT NULL,
    body text NOT NULL
);

-- Deliveries that are not over. Small and hot, apart from the log of those that are, so that it is vacuumed in no time.
-- A lease is a due_at in the future; claims counts them, so that a worker that lost its lease is recognised.
CREATE TABLE webhooks.pending (
    endpoint_id uuid NOT NULL,
    event_id uuid NOT NULL,
    due_at timestamptz NOT NULL,
    attempts smallint NOT NULL DEFAULT 0,
    claims integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (endpoint_id, event_id)
) WITH (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.5, autovacuum_analyze_threshold = 5000
);
CREATE INDEX pending_due ON webhooks.pending (endpoint_id, due_at);

-- Deliveries that are over, each written once. The attempt that succeeded is in the row itself.
CREATE TABLE webhooks.deliveries (
    endpoint_id uuid NOT NULL,
    event_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('succeeded', 'exhausted', 'canceled')),
    attempts smallint NOT NULL,
    created_at timestamptz NOT NULL,
    completed_at timestamptz NOT NULL,
    duration_ms integer,
    status_code smallint,
    response text,
    PRIMARY KEY (endpoint_id, event_id)
);

-- Attempts that failed.
CREATE TABLE webhooks.attempts (
    endpoint_id uuid NOT NULL,
    event_id uuid NOT NULL,
    number smallint NOT NULL,
    at timestamptz NOT NULL,
    duration_ms integer NOT NULL,
    status_code smallint,
    error text NOT NULL,
    response text,
    PRIMARY KEY (endpoint_id, event_id, number)
);
