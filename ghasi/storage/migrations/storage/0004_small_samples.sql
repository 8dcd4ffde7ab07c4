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
