-- Which worker has which of a carrier's binds.

-- The workers that live, and of which carriers each would have how many binds at most (what its carriers.toml says).
-- valid_until: renewed every second; a worker whose time has passed counts no more. since: it takes over others' binds
-- only when it has been there for a while.
CREATE TABLE messages.dispatch_workers (
    process text PRIMARY KEY,
    carriers text[] NOT NULL,
    binds integer[] NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    valid_until timestamptz NOT NULL
) WITH (fillfactor = 50);

-- A carrier's binds, numbered from 1. holder: the worker that alone may use it until valid_until; null: it was given
-- back, and until valid_until somebody else is expected to have it up again. bound: whether it is up.
CREATE TABLE messages.carrier_binds (
    carrier text NOT NULL,
    number integer NOT NULL,
    holder text,
    valid_until timestamptz NOT NULL,
    bound boolean NOT NULL DEFAULT false,
    PRIMARY KEY (carrier, number)
) WITH (fillfactor = 50);
