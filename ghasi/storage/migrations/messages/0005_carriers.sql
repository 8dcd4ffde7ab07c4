-- Several carriers: which one a message was given to, what operators told a carrier to do, what each process sees of it,
-- and how well it delivers.

-- carrier: the one that the newest claim was submitted to, or is about to be; written before the submit, so that a claim
-- in doubt without it was never submitted. held_for: the carriers that alone may take the message, by name with a space
-- between, while none of them takes more; it lies aside, due when its validity ends, until one of them has room.
ALTER TABLE messages.dispatch ADD COLUMN carrier text, ADD COLUMN held_for text;
CREATE INDEX dispatch_held ON messages.dispatch (held_for, message_id) WHERE held_for IS NOT NULL;

-- What is in doubt was submitted to the only carrier there is; '' is one that is not known.
UPDATE messages.dispatch
SET carrier = coalesce((SELECT min(name) FROM messages.carriers HAVING count(*) = 1), '') WHERE in_doubt;

-- Of how many submits the part is one; null: of as many as the message has segments.
ALTER TABLE messages.submissions ADD COLUMN parts smallint;

-- What operators told a carrier to do; none: it is active.
CREATE TABLE messages.carrier_modes (
    name text PRIMARY KEY,
    mode text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL
);

-- A carrier with its totals, which outlive every process; configured: carriers.toml names it still.
ALTER TABLE messages.carriers
    DROP COLUMN bound, DROP COLUMN window_size, DROP COLUMN outstanding, DROP COLUMN detail, DROP COLUMN seen_at,
    ADD COLUMN position integer NOT NULL DEFAULT 0,
    ADD COLUMN configured boolean NOT NULL DEFAULT true,
    ADD COLUMN refused bigint NOT NULL DEFAULT 0,
    ADD COLUMN receipts bigint NOT NULL DEFAULT 0;

-- What a process sees of a carrier, written once a second.
CREATE TABLE messages.carrier_states (
    name text NOT NULL,
    process text NOT NULL,
    mode text NOT NULL,
    bound boolean NOT NULL,
    links integer NOT NULL,
    links_wanted integer NOT NULL,
    window_size integer NOT NULL,
    outstanding integer NOT NULL,
    waiting integer NOT NULL,
    throughput_per_s integer,
    submitted_per_s real NOT NULL,
    refused_per_s real NOT NULL,
    receipts_per_s real NOT NULL,
    detail text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, process)
) WITH (fillfactor = 50);

-- A carriers.toml that a process refused, while it goes on with the one before.
CREATE TABLE messages.carrier_faults (
    process text PRIMARY KEY,
    fault text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);

-- Messages that ended after a carrier took them, by the hour; '' is a country that the number does not tell.
CREATE TABLE messages.quality (
    hour timestamptz NOT NULL,
    carrier text NOT NULL,
    country text NOT NULL,
    messages bigint NOT NULL,
    delivered bigint NOT NULL,
    latency_s double precision NOT NULL,
    PRIMARY KEY (hour, carrier, country)
) WITH (fillfactor = 50);
