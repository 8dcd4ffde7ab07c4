"""All SQL of the leases on carriers' binds: one statement a second for all of a worker's carriers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from ghasi.messages.dispatch.bind_plan import Bind
from ghasi.storage.pool import Pool

EXPECTED_WITHIN_S = 3.0
"""How long a bind that was given back still counts as up: whoever takes it is connecting."""


@dataclass(slots=True)
class Leases:
    """What a statement found and did.

    `mine` are the binds that it renewed or took. `holders` has all others by who holds them, with those of this worker
    that it has not renewed; None: free. `up`: those of `holders` that are connected. `settled`: workers that were there
    long enough to take binds over.
    """

    mine: set[Bind] = field(default_factory=set)
    holders: dict[Bind, str | None] = field(default_factory=dict)
    up: set[Bind] = field(default_factory=set)
    wishes: dict[str, dict[str, int]] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    lapsed: set[Bind] = field(default_factory=set)
    """Those of `holders` whose holder let its lease run out."""

    def held_by(self, process: str) -> set[Bind]:
        """Return which of `holders` a worker holds."""
        return {bind for bind, holder in self.holders.items() if holder == process}


async def renew(
    pool: Pool,
    process: str,
    lease: timedelta,
    settles: timedelta,
    wishes: Mapping[str, int],
    *,
    keep: Mapping[Bind, bool],
    give: Collection[Bind],
    take: Collection[Bind],
) -> Leases:
    """Tell that a worker lives and what it wants; renew what it keeps (and whether that is up), give and take binds.

    Of `take` it gets what nobody holds. A bind is in one of the three at most.
    """
    rows = await pool.fetch(
        """
        WITH told AS (
            INSERT INTO messages.dispatch_workers AS known (process, carriers, binds, valid_until)
            VALUES ($1, $4, $5, now() + $2::interval)
            ON CONFLICT (process) DO UPDATE
                SET carriers = excluded.carriers, binds = excluded.binds, valid_until = excluded.valid_until,
                    since = CASE WHEN known.valid_until < now() THEN now() ELSE known.since END
            RETURNING process, carriers, binds, since
        ), gone AS (
            DELETE FROM messages.dispatch_workers WHERE process IN (
                SELECT process FROM messages.dispatch_workers
                WHERE process <> $1 AND valid_until < now() - interval '1 minute' FOR UPDATE SKIP LOCKED)
        ), kept AS (
            -- greatest: a statement that was held up, and given up, may come after one that followed it
            UPDATE messages.carrier_binds AS bind
            SET valid_until = greatest(bind.valid_until, now() + $2::interval), bound = mine.bound
            FROM unnest($6::text[], $7::int[], $8::bool[]) AS mine (carrier, number, bound)
            WHERE bind.carrier = mine.carrier AND bind.number = mine.number AND bind.holder = $1
            RETURNING bind.carrier, bind.number
        ), given AS (
            UPDATE messages.carrier_binds AS bind
            SET holder = NULL, valid_until = now() + make_interval(secs => $13)
            FROM unnest($9::text[], $10::int[]) AS mine (carrier, number)
            WHERE bind.carrier = mine.carrier AND bind.number = mine.number AND bind.holder = $1
            RETURNING bind.carrier, bind.number
        ), taken AS (
            INSERT INTO messages.carrier_binds AS bind (carrier, number, holder, valid_until)
            SELECT carrier, number, $1, now() + $2::interval
            FROM unnest($11::text[], $12::int[]) AS free (carrier, number) ORDER BY carrier, number
            ON CONFLICT (carrier, number) DO UPDATE
                SET holder = $1, valid_until = excluded.valid_until,
                    bound = bind.bound AND bind.holder IS NULL AND bind.valid_until > now()
                WHERE bind.holder IS NULL OR bind.valid_until <= now()
            RETURNING bind.carrier, bind.number
        )
        SELECT 'mine' AS what, carrier, number, NULL AS process, NULL::bool AS is_so, NULL::bool AS ended
        FROM (SELECT * FROM kept UNION ALL SELECT * FROM taken) AS mine
        UNION ALL
        SELECT 'bind', carrier, number,
               CASE WHEN valid_until > now() AND (carrier, number) NOT IN (SELECT carrier, number FROM given)
                    THEN holder END,
               bound AND valid_until > now(), holder IS NOT NULL AND valid_until <= now()
        FROM messages.carrier_binds
        UNION ALL
        SELECT 'worker', carrier, number, process, since <= now() - $3::interval, NULL
        FROM (SELECT process, carriers, binds, since FROM told
              UNION ALL
              SELECT process, carriers, binds, since FROM messages.dispatch_workers
              WHERE process <> $1 AND valid_until > now()) AS worker
        CROSS JOIN LATERAL unnest(carriers, binds) AS wish (carrier, number)
        """,
        process,
        lease,
        settles,
        list(wishes),
        list(wishes.values()),
        [carrier for carrier, _ in keep],
        [number for _, number in keep],
        list(keep.values()),
        [carrier for carrier, _ in give],
        [number for _, number in give],
        [carrier for carrier, _ in take],
        [number for _, number in take],
        EXPECTED_WITHIN_S,
    )
    found = Leases()
    for what, carrier, number, holder, is_so, ended in rows:
        bind = (carrier, number)
        if what == "mine":
            found.mine.add(bind)
        elif what == "worker":
            found.wishes.setdefault(holder, {})[carrier] = number
            if is_so:
                found.settled.add(holder)
        else:
            found.holders[bind] = holder
            if is_so:
                found.up.add(bind)
            if ended:
                found.lapsed.add(bind)
    for bind in found.mine:
        found.holders.pop(bind, None)
        found.up.discard(bind)
        found.lapsed.discard(bind)
    return found


async def leave(pool: Pool, process: str) -> bool:
    """Give back all binds of a worker that ends, and forget it; return whether it had any."""
    given = await pool.execute(
        """
        WITH gone AS (DELETE FROM messages.dispatch_workers WHERE process = $1)
        UPDATE messages.carrier_binds SET holder = NULL, valid_until = now() + make_interval(secs => $2)
        WHERE holder = $1
        """,
        process,
        EXPECTED_WITHIN_S,
    )
    return bool(given.rpartition(" ")[2] != "0")


async def list_holders(pool: Pool) -> list[tuple[str, str, int, int]]:
    """Return (carrier, process, binds held, binds up), of the binds that are held now."""
    rows = await pool.fetch(
        """
        SELECT carrier, holder, count(*)::int, count(*) FILTER (WHERE bound)::int FROM messages.carrier_binds
        WHERE holder IS NOT NULL AND valid_until > now() GROUP BY carrier, holder ORDER BY carrier, holder
        """
    )
    return [tuple(row) for row in rows]
