"""Promises about whose things are whose: what account A has, account B neither sees nor touches."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ghasi.contract.check import expecting, making
from ghasi.contract.check.asking import Answer, describe
from ghasi.contract.check.bench import NO_BODY, Bench
from ghasi.contract.check.promises import Broken, Promise
from ghasi.contract.row import Auth, Row
from ghasi.contract.table import BY_OPERATION, ROWS

_LISTED = tuple(BY_OPERATION[name] for name in making.LISTS.values())
_ALSO_EMPTY = frozenset({"list_message_deliveries"})
"""Of a message that is another service's: it is not known there, and there are none."""
_BODIES: Mapping[str, Any] = {
    "update_webhook": making.WEBHOOK,
    "send_test_event": {"event_type": "message.delivered"},
    "recover_deliveries": {"since": "2026-01-01T00:00:00Z"},
    "replay_events": {"since": "2026-01-01T00:00:00Z"},
}
"""Such as are right, so that nothing but the owner is wrong."""
_BY_ID: tuple[Row, ...] = tuple(
    row for row in ROWS if row.auth is Auth.BEARER and row.parameters and set(row.parameters) <= set(making.LISTS)
)


async def _not_found(row: Row, bench: Bench) -> None:
    await bench.there(row)
    other = await bench.other_person()
    ids = await making.row_ids(bench, row)
    answer = await bench.ask(row, other, id=ids, json=_BODIES.get(row.operation, NO_BODY))
    if row.operation in _ALSO_EMPTY and answer.status == row.success:
        if answer.find("data") != []:
            raise Broken("404, or a list of none", describe(answer))
        return
    expecting.problem(answer, "not_found")


async def _not_listed(row: Row, bench: Bench) -> None:
    person, other = await bench.person(), await bench.other_person()
    parameter = next(name for name, operation in making.LISTS.items() if operation == row.operation)
    known = await making.known_id(bench, parameter)
    own = _ids(await bench.ask(row, person))
    if (own | {known}) & _ids(await bench.ask(row, other)):
        raise Broken("rows of account B alone", "a row of account A")


def _ids(answer: Answer) -> set[str]:
    expecting.success(answer, 200)
    data = answer.find("data")
    return {str(row.get("id")) for row in data if isinstance(row, dict)} if isinstance(data, list) else set()


PROMISES: tuple[Promise, ...] = (
    *(
        Promise(
            f"ownership.{row.operation}", f"{row.method} {row.path} of another account is 404",
            "extension" if row.extension else "design 6", partial(_not_found, row), row.extension,
        )
        for row in _BY_ID
    ),
    *(
        Promise(
            f"ownership.{row.operation}", f"{row.method} {row.path} shows nothing of another account", "design 6",
            partial(_not_listed, row),
        )
        for row in _LISTED
    ),
)  # fmt: skip
