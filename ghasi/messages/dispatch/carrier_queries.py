"""All SQL about carriers themselves: what each process sees of them, what operators want of them, how well they do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ghasi.carriers.carrier import CarrierState
from ghasi.storage.pool import Pool


@dataclass(frozen=True, slots=True)
class Seen:
    """What this process sees of a carrier, and what it did with it since it last said so."""

    state: CarrierState
    position: int
    mode: str
    waiting: int
    submitted: int
    refused: int
    receipts: int
    resubmitted: int
    submitted_per_s: float
    refused_per_s: float
    receipts_per_s: float


async def write_carriers(pool: Pool, process: str, seen: Sequence[Seen]) -> None:
    """Write what this process sees of its carriers, and add to their totals; carriers not among them are no longer."""
    states = [one.state for one in seen]
    names = [state.name for state in states]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            """
            INSERT INTO messages.carriers AS known (name, kind, position, submitted, resubmitted, refused, receipts)
            SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[],
                                 $7::bigint[]) ORDER BY 1
            ON CONFLICT (name) DO UPDATE
                SET kind = excluded.kind, position = excluded.position, configured = true,
                    submitted = known.submitted + excluded.submitted,
                    resubmitted = known.resubmitted + excluded.resubmitted,
                    refused = known.refused + excluded.refused, receipts = known.receipts + excluded.receipts
            """,
            names,
            [state.kind for state in states],
            [one.position for one in seen],
            [one.submitted for one in seen],
            [one.resubmitted for one in seen],
            [one.refused for one in seen],
            [one.receipts for one in seen],
        )
        await connection.execute(
            """
            WITH gone AS (
                DELETE FROM messages.carrier_states
                WHERE process = $1 AND name <> ALL($2::text[]) OR seen_at < now() - interval '1 minute'
            )
            INSERT INTO messages.carrier_states AS known
                (name, process, mode, bound, links, links_wanted, window_size, outstanding, waiting, throughput_per_s,
                 submitted_per_s, refused_per_s, receipts_per_s, detail)
            SELECT name, $1, mode, bound, links, links_wanted, window_size, outstanding, waiting, throughput_per_s,
                   submitted_per_s, refused_per_s, receipts_per_s, detail
            FROM unnest($2::text[], $3::text[], $4::bool[], $5::int[], $6::int[], $7::int[], $8::int[], $9::int[],
                        $10::int[], $11::real[], $12::real[], $13::real[], $14::text[])
                 AS new (name, mode, bound, links, links_wanted, window_size, outstanding, waiting, throughput_per_s,
                         submitted_per_s, refused_per_s, receipts_per_s, detail)
            ON CONFLICT (name, process) DO UPDATE
                SET mode = excluded.mode, bound = excluded.bound, links = excluded.links,
                    links_wanted = excluded.links_wanted, window_size = excluded.window_size,
                    outstanding = excluded.outstanding, waiting = excluded.waiting,
                    throughput_per_s = excluded.throughput_per_s, submitted_per_s = excluded.submitted_per_s,
                    refused_per_s = excluded.refused_per_s, receipts_per_s = excluded.receipts_per_s,
                    detail = excluded.detail, seen_at = now()
            """,
            process,
            names,
            [one.mode for one in seen],
            [state.bound for state in states],
            [state.links for state in states],
            [state.links_wanted for state in states],
            [state.window for state in states],
            [state.outstanding for state in states],
            [one.waiting for one in seen],
            [state.throughput_per_s for state in states],
            [one.submitted_per_s for one in seen],
            [one.refused_per_s for one in seen],
            [one.receipts_per_s for one in seen],
            [state.detail for state in states],
        )


async def set_configured(pool: Pool, names: Sequence[str]) -> None:
    """Say which carriers are still configured; the totals of others are kept."""
    await pool.execute(
        "UPDATE messages.carriers SET configured = name = ANY($1::text[]) WHERE configured <> (name = ANY($1::text[]))",
        names,
    )


async def write_fault(pool: Pool, process: str, fault: str | None) -> None:
    """Say what is wrong with the carriers.toml that this process read last, or that nothing is."""
    await pool.execute(
        "DELETE FROM messages.carrier_faults WHERE process = $1 OR seen_at < now() - interval '1 minute'", process
    )
    if fault is not None:
        await pool.execute("INSERT INTO messages.carrier_faults (process, fault) VALUES ($1, $2)", process, fault)


async def forget_process(pool: Pool, process: str) -> None:
    """Forget what a process said that ends: others would count its links for seconds."""
    await pool.execute(
        """
        WITH gone AS (DELETE FROM messages.carrier_faults WHERE process = $1)
        DELETE FROM messages.carrier_states WHERE process = $1
        """,
        process,
    )


async def read_modes(pool: Pool) -> dict[str, str]:
    """Return what operators want of carriers; who is not there is active."""
    rows = await pool.fetch("SELECT name, mode FROM messages.carrier_modes")
    return {row["name"]: row["mode"] for row in rows}


async def add_quality(pool: Pool, rows: Sequence[tuple[str, str, int, int, float]]) -> None:
    """Add to this hour's quality: (carrier, country, messages, delivered, seconds from sent to delivered), in order."""
    await pool.execute(
        """
        INSERT INTO messages.quality AS known (hour, carrier, country, messages, delivered, latency_s)
        SELECT date_trunc('hour', now()), * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::float[])
        ON CONFLICT (hour, carrier, country) DO UPDATE
            SET messages = known.messages + excluded.messages, delivered = known.delivered + excluded.delivered,
                latency_s = known.latency_s + excluded.latency_s
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def sum_quality(pool: Pool, hours: int, now: datetime | None) -> list[tuple[str, str, int, int, float]]:
    """Return (carrier, country, messages, delivered, seconds) over the last hours, the running one included."""
    rows = await pool.fetch(
        """
        SELECT carrier, country, sum(messages)::bigint, sum(delivered)::bigint, sum(latency_s)
        FROM messages.quality
        WHERE hour > date_trunc('hour', coalesce($2::timestamptz, now())) - make_interval(hours => $1)
        GROUP BY carrier, country
        """,
        hours,
        now,
    )
    return [tuple(row) for row in rows]


async def forget_quality(pool: Pool, days: int) -> None:
    """Delete quality of more than so many days ago."""
    await pool.execute("DELETE FROM messages.quality WHERE hour < now() - make_interval(days => $1)", days)
