-- Deliveries that wait for the one before them, and endpoints that take only so many in a second.

ALTER TABLE webhooks.pending
    -- with a key: only once all earlier events of the endpoint with this key are over
    ADD COLUMN order_key text,
    -- having failed, it holds up those behind it until then
    ADD COLUMN hold_until timestamptz;
DROP INDEX webhooks.pending_due;
CREATE INDEX pending_due ON webhooks.pending (endpoint_id, due_at) WHERE order_key IS NULL;
CREATE INDEX pending_ordered ON webhooks.pending (endpoint_id, order_key, event_id) WHERE order_key IS NOT NULL;
-- what is leased of a key, wherever it stands: older events come before it by a replay
CREATE INDEX pending_ordered_leased ON webhooks.pending (endpoint_id, order_key) WHERE order_key IS NOT NULL AND leased;
CREATE INDEX pending_holding ON webhooks.pending (hold_until) WHERE hold_until IS NOT NULL;

-- Of endpoints with a rate: when the next attempt may begin that no worker has planned yet. It is lost in a crash, at the
-- cost of a second's attempts.
CREATE UNLOGGED TABLE webhooks.paces (
    endpoint_id uuid PRIMARY KEY REFERENCES webhooks.endpoints ON DELETE CASCADE,
    next_at timestamptz NOT NULL
) WITH (fillfactor = 20);
