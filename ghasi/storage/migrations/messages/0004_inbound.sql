-- What phones send: parts until their message is whole, and what was taken lately, to know it when it comes again.

-- Nobody asked for an inbound message.
ALTER TABLE messages.messages ALTER COLUMN user_id DROP NOT NULL, ALTER COLUMN credential DROP NOT NULL;

-- payload: until the part is in a message; the digest of it stays for an hour. session: the connection it came by, where
-- the carrier names it. A part whose payload the database has is committed before its carrier is answered.
CREATE TABLE messages.inbound_parts (
    id uuid PRIMARY KEY,
    carrier text COLLATE "C" NOT NULL,
    sender text COLLATE "C" NOT NULL,
    recipient text COLLATE "C" NOT NULL,
    reference integer NOT NULL,
    parts smallint NOT NULL,
    part smallint NOT NULL,
    encoding text NOT NULL,
    payload bytea,
    digest bytea NOT NULL,
    session text NOT NULL,
    arrived_at timestamptz NOT NULL,
    committed_at timestamptz NOT NULL,
    message_id uuid
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX inbound_parts_of_message ON messages.inbound_parts (carrier, sender, recipient, reference, parts);
CREATE INDEX inbound_parts_waiting ON messages.inbound_parts (arrived_at) WHERE message_id IS NULL;
CREATE INDEX inbound_parts_by_age ON messages.inbound_parts (committed_at) WHERE message_id IS NOT NULL;
