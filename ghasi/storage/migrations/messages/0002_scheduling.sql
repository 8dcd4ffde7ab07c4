-- Messages that are to be sent at a time: they are released into dispatch once they are due.

-- When a scheduled message was released; null where a message was accepted at its id's own time, or never.
ALTER TABLE messages.messages ADD COLUMN accepted_at timestamptz;

-- One row while a message is scheduled. Whoever ends that locks the message first, then this row.
CREATE TABLE messages.scheduled (
    message_id uuid PRIMARY KEY,
    send_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX scheduled_due ON messages.scheduled (send_at);
