-- Busy tables are analyzed often while they are young: by few rows, without the texts (storage.sample_little).

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
    PERFORM storage.sample_little(format('messages.%I', name)::regclass);
    EXECUTE format('WITH moved AS (DELETE FROM messages.messages_other WHERE id >= $1 AND id < $2 RETURNING *)
                    INSERT INTO messages.%I SELECT * FROM moved', name) USING first, beyond;
    EXECUTE format('ALTER TABLE messages.messages ATTACH PARTITION messages.%I FOR VALUES FROM (%L) TO (%L)',
                   name, first, beyond);
END
$$;

SELECT storage.sample_little(inhrelid) FROM pg_inherits WHERE inhparent = 'messages.messages'::regclass;
SELECT storage.sample_little('messages.submissions'), storage.sample_little('messages.outbox');
