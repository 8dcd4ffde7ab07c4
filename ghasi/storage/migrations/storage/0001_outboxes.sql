-- One outbox and one table of read positions a service; ghasi/storage/outbox.py has the rules.

-- Which cluster the xids below belong to: after a restore elsewhere they mean nothing and `ghasi migrate` rebases them.
CREATE TABLE storage.cluster (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    system_identifier bigint NOT NULL
);

CREATE FUNCTION storage.create_outbox(schema text) RETURNS void LANGUAGE plpgsql AS $$
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

-- What operators and customers changed; append-only: not even the owner may rewrite it without dropping the trigger.
CREATE TABLE storage.audit_log (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    account_id uuid,
    subject text NOT NULL,
    request_id text,
    detail json NOT NULL
);
CREATE INDEX audit_log_account ON storage.audit_log (account_id, id);

CREATE FUNCTION storage.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON storage.audit_log
    FOR EACH ROW EXECUTE FUNCTION storage.refuse_change();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON storage.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION storage.refuse_change();
