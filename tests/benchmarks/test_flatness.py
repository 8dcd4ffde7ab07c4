"""What a soak calls flat."""

import pytest

from benchmarks.flatness import judge

STEADY = {
    "rss_mib": 300.0, "queues_mib": 40.0, "dead_tuples": 5000, "queue_age_s": 0.1,
    "post_p99_ms": 12.0, "webhook_p99_ms": 40.0,
}  # fmt: skip


def flat(rows: list[dict[str, float]]) -> dict[str, bool]:
    return {verdict.name: verdict.is_flat for verdict in judge(rows)}


def test_a_steady_run_is_flat_and_one_bad_minute_changes_nothing() -> None:
    rows = [dict(STEADY) for _ in range(9)]
    rows[7]["post_p99_ms"] = 900.0
    assert all(flat(rows).values())


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("rss_mib", 331),
        ("queues_mib", 69),
        ("dead_tuples", 30_001),
        ("queue_age_s", 1.21),
        ("post_p99_ms", 34.1),
        ("webhook_p99_ms", 90.1),
    ],
)
def test_what_grows_beyond_its_bound_is_not_flat(name: str, last: float) -> None:
    rows = [dict(STEADY) for _ in range(6)] + [{**STEADY, name: last} for _ in range(3)]
    assert list(flat(rows).values()).count(False) == 1
    rows = [dict(STEADY) for _ in range(6)] + [{**STEADY, name: last * 0.98} for _ in range(3)]
    assert all(flat(rows).values())


def test_two_rows_have_no_thirds() -> None:
    with pytest.raises(ValueError, match="three rows"):
        judge([STEADY, STEADY])
