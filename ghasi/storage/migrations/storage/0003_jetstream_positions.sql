-- Where a consumer stands in a stream of NATS JetStream, beside where it stands in the outbox; ghasi/storage/events/
-- has the rules. In its own `positions` a service has one row for each source that it reads, and one by its own name
-- that says how far its outbox has been relayed.
--   stream     when the stream was made: another one begins anew
--   sequence   of the last message that was applied (or published, for the relay)
--   message    its id: a stream whose tail was lost has another message there
--   watermark  all that happened before it has been applied; null while PostgreSQL carries the events
CREATE OR REPLACE FUNCTION storage.add_stream_positions(positions regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'ALTER TABLE %s
            ADD COLUMN IF NOT EXISTS stream timestamptz,
            ADD COLUMN IF NOT EXISTS sequence bigint NOT NULL DEFAULT 0,
            ADD COLUMN IF NOT EXISTS message uuid,
            ADD COLUMN IF NOT EXISTS watermark timestamptz', positions);
END
$$;

CREATE OR REPLACE FUNCTION storage.create_outbox(schema text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TABLE %I.outbox (
            xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
            id uuid NOT NULL,
            type text NOT NULL,
            version smallint NOT NULL DEFAULT 1,
            account_id uuid NOT NULL,
            subject_id uuid NOT NULL,
            sequence integer NOT NULL,
            at timestamptz NOT NULL,
            data json NOT NULL,
            private json,
            PRIMARY KEY (xid, id)
        )', schema);
    EXECUTE format(
        'CREATE TABLE %I.positions (
            source text PRIMARY KEY,
            xid xid8 NOT NULL DEFAULT ''0'',
            id uuid NOT NULL DEFAULT ''00000000-0000-0000-0000-000000000000''
        ) WITH (fillfactor = 10)', schema);
    PERFORM storage.add_stream_positions(format('%I.positions', schema)::regclass);
END
$$;

SELECT storage.add_stream_positions(oid) FROM pg_class
WHERE relname = 'positions' AND relkind = 'r'
    AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('auth', 'messages', 'webhooks', 'billing'));
