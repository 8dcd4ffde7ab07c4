-- What a table's statistics are gathered from. A busy table grows by a tenth within seconds while it is young, and is
-- analyzed as often; 30,000 rows with their JSON, looked through each time, held everything else up. Nothing is looked
-- for by a text or JSON as a whole, and the statements that matter follow an index whatever the values are.
CREATE FUNCTION storage.sample_little(busy regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT attname AS name, atttypid = 'json'::regtype OR attname IN ('body', 'response') AS is_large
        FROM pg_attribute WHERE attrelid = busy AND attnum > 0 AND NOT attisdropped
    LOOP
        EXECUTE format(
            'ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', busy, one.name, CASE WHEN one.is_large THEN 0 ELSE 10 END
        );
    END LOOP;
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
    PERFORM storage.sample_little(format('%I.outbox', schema)::regclass);
END
$$;

SELECT storage.sample_little(oid) FROM pg_class
WHERE relname = 'outbox' AND relkind = 'r'
    AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('auth', 'messages', 'webhooks', 'billing'));
