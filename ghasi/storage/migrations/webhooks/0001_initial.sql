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
-- an account's deleted ones too: what a message caused is shown whatever became of the endpoint
CREATE INDEX endpoints_ever ON webhooks.endpoints (account_id);
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
    -- null for a test event
    message_id uuid,
    type text NOT NULL,
    at timestamptz NOT NULL,
    body text NOT NULL
);
CREATE INDEX events_message ON webhooks.events (message_id) WHERE message_id IS NOT NULL;

-- Deliveries that are not over. Small and hot, apart from the log of those that are, so that it is vacuumed in no time.
-- A delivery is here or in webhooks.deliveries, never in both; a resend brings it back here.
-- While leased, due_at is the end of the lease, else the next attempt. claims counts leases, so that a worker that lost
-- its own is recognised. attempts and claims go on counting over resends; the schedule counts from attempts_before, and
-- the result of one of the claims_before, which were made before the resend, ends nothing.
CREATE TABLE webhooks.pending (
    endpoint_id uuid NOT NULL,
    event_id uuid NOT NULL,
    due_at timestamptz NOT NULL,
    -- since when it is pending: what its endpoint dropped at a later moment is canceled
    queued_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    claims integer NOT NULL DEFAULT 0,
    attempts_before integer NOT NULL DEFAULT 0,
    claims_before integer NOT NULL DEFAULT 0,
    leased boolean NOT NULL DEFAULT false,
    PRIMARY KEY (endpoint_id, event_id)
) WITH (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.5, autovacuum_analyze_threshold = 5000
);
CREATE INDEX pending_due ON webhooks.pending (endpoint_id, due_at);

-- Deliveries that are over. The attempt that succeeded is in the row itself: it ended at completed_at and began duration_ms
-- earlier.
CREATE TABLE webhooks.deliveries (
    endpoint_id uuid NOT NULL,
    event_id uuid NOT NULL,
    completed_at timestamptz NOT NULL,
    attempts integer NOT NULL,
    claims integer NOT NULL,
    duration_ms integer,
    status_code smallint,
    state text NOT NULL CHECK (state IN ('succeeded', 'exhausted', 'canceled')),
    response text,
    PRIMARY KEY (endpoint_id, event_id)
);
CREATE INDEX deliveries_failed ON webhooks.deliveries (endpoint_id, event_id) WHERE state = 'exhausted';

-- Attempts that failed, and those that succeeded before their delivery was sent again (error is null then).
CREATE TABLE webhooks.attempts (
    endpoint_id uuid NOT NULL,
    event_id uuid NOT NULL,
    number integer NOT NULL,
    at timestamptz NOT NULL,
    duration_ms integer NOT NULL,
    status_code smallint,
    error text,
    response text,
    PRIMARY KEY (endpoint_id, event_id, number)
);
