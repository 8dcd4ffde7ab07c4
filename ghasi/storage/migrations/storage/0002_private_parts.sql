-- What an event says to services alone: webhooks pass `data` on to customers as it is.
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
END
$$;

DO $$
DECLARE
    outbox regclass;
BEGIN
    FOR outbox IN
        SELECT oid FROM pg_class
        WHERE relname = 'outbox' AND relkind = 'r'
            AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('auth', 'messages', 'webhooks', 'billing'))
    LOOP
        EXECUTE format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS private json', outbox);
    END LOOP;
END
$$;
