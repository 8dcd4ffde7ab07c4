-- Room on a page of messages for what becomes of them: sent, delivered and priced, each an update within seconds. With 75
-- in a hundred filled at first more than half of the updates went to another page, and wrote to three indexes.

CREATE OR REPLACE FUNCTION messages.make_partition(month date) RETURNS void LANGUAGE plpgsql AS $$
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
                    WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1)', name);
    EXECUTE format('WITH moved AS (DELETE FROM messages.messages_other WHERE id >= $1 AND id < $2 RETURNING *)
                    INSERT INTO messages.%I SELECT * FROM moved', name) USING first, beyond;
    EXECUTE format('ALTER TABLE messages.messages ATTACH PARTITION messages.%I FOR VALUES FROM (%L) TO (%L)',
                   name, first, beyond);
END
$$;

-- Those that are there: pages that are filled from here on.
DO $$
DECLARE part regclass;
BEGIN
    FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'messages.messages'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET (fillfactor = 50)', part);
    END LOOP;
END
$$;
