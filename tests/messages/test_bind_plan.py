"""Who should have which bind: fair whatever was before, with no move that fairness does not need, and stable."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ghasi.messages.dispatch.bind_plan import Bind, plan

WORKERS = ["v", "w", "x", "y", "z"]
carriers = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 7), min_size=1)


@st.composite
def situations(draw: st.DrawFn) -> tuple[dict[Bind, str | None], dict[str, dict[str, int]]]:
    """Binds with holders, of whom some may be gone, and workers that all have the same carriers.toml."""
    wanted = draw(carriers)
    workers = draw(st.lists(st.sampled_from(WORKERS), min_size=1, unique=True))
    binds = [(carrier, number) for carrier, most in wanted.items() for number in range(1, most + 1)]
    holders = {bind: draw(st.sampled_from([None, "gone", *workers])) for bind in binds}
    return holders, dict.fromkeys(workers, wanted)


@given(situations())
def test_all_binds_are_shared_evenly_and_stay_where_they_are_then(
    situation: tuple[dict[Bind, str | None], dict[str, dict[str, int]]],
) -> None:
    holders, wishes = situation
    planned = plan(holders, wishes, set(wishes))
    assert planned.keys() == holders.keys()
    in_all = Counter(planned.values())
    assert max(in_all[worker] for worker in wishes) - min(in_all[worker] for worker in wishes) <= 1
    for carrier in {carrier for carrier, _ in planned}:
        of = Counter(owner for (name, _), owner in planned.items() if name == carrier)
        assert max(of[worker] for worker in wishes) - min(of[worker] for worker in wishes) <= 1
    assert plan(dict(planned), wishes, set(wishes)) == planned


@given(situations())
def test_a_worker_that_comes_is_given_its_share_and_no_other_bind_moves(
    situation: tuple[dict[Bind, str | None], dict[str, dict[str, int]]],
) -> None:
    holders, wishes = situation
    before = plan(holders, wishes, set(wishes))
    wishes["new"] = next(iter(wishes.values()))
    assert plan(dict(before), wishes, set(wishes) - {"new"}) == before, "until it has settled it draws nothing to it"
    after = plan(dict(before), wishes, set(wishes))
    moved = {bind for bind in before if before[bind] != after[bind]}
    given = {bind for bind, owner in after.items() if owner == "new"}
    assert len(given) == len(after) // len(wishes) or len(given) == -(-len(after) // len(wishes))
    assert len(moved - given) <= len(given), "others change places only where a carrier has to be even, too"


@given(situations())
def test_what_a_worker_leaves_goes_to_those_that_have_least(
    situation: tuple[dict[Bind, str | None], dict[str, dict[str, int]]],
) -> None:
    holders, wishes = situation
    before = plan(holders, wishes, set(wishes))
    gone = next(iter(wishes))
    if len(wishes) == 1:
        assert plan(dict(before), {}, set()) == {}
        return
    del wishes[gone]
    after = plan(dict(before), wishes, set(wishes))
    assert gone not in after.values()
    assert plan({**before, **{bind: None for bind in before if before[bind] == gone}}, wishes, set(wishes)) == after


def test_workers_of_another_file_get_what_they_can_have() -> None:
    wishes = {"x": {"a": 3}, "y": {"a": 1, "b": 1}}
    planned = plan({("a", 1): "x", ("a", 2): "x", ("a", 3): "x"}, wishes, {"x", "y"})
    assert planned == {("a", 1): "y", ("a", 2): "x", ("a", 3): "x", ("b", 1): "y"}


def test_one_worker_has_all() -> None:
    assert plan({}, {"x": {"a": 2, "b": 1}}, set()) == {("a", 1): "x", ("a", 2): "x", ("b", 1): "x"}
