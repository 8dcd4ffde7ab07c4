"""What becomes of messages in the mock: sent and final by the clock, as the simulated carrier would have it.

Owns their course. What may be sent at all, its encoding and segments are sms-orchestrator's own rules.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from ghasi.carriers.segmentation import measure
from ghasi.contract.errors import Problem
from ghasi.contract.message_errors import MESSAGE_ERRORS
from ghasi.contract.serving import Call
from ghasi.contract.shapes import FINAL_STATUSES, Batch, Message, Preview
from ghasi.contract.values import money, rfc3339
from ghasi.gateway.mock.memory import Json, Memory
from ghasi.messages.model import Draft, new_message
from ghasi.messages.numbers import parse_recipient
from ghasi.messages.sending.batches import Job, answer, compose_request, in_order, list_requests
from ghasi.messages.sending.look_alikes import make_gsm7
from ghasi.messages.sending.preview import forcing_characters
from ghasi.messages.sending.scheduling import check_send_at
from ghasi.messages.sending.service import compose

LIST = "/v1/messages"
SENT_AFTER_S, FINAL_AFTER_S, LATE_AFTER_S, THROTTLED_S = 1.0, 3.0, 30.0, 3.0
PRICE_MICROS, CURRENCY = 45_000, "USD"
Course = tuple[tuple[float, str, str | None], ...]
_SENT, _DELIVERED = (SENT_AFTER_S, "sent", None), (FINAL_AFTER_S, "delivered", None)
_COURSES: dict[str, Course] = {
    "0001": (_SENT, (FINAL_AFTER_S, "undelivered", "undeliverable")),
    "0002": (_SENT, (FINAL_AFTER_S, "expired", "expired")),
    "0003": ((SENT_AFTER_S, "failed", "invalid_destination"),),
    "0004": ((SENT_AFTER_S + THROTTLED_S, "sent", None), (FINAL_AFTER_S + THROTTLED_S, "delivered", None)),
    "0005": (_SENT, (LATE_AFTER_S, "delivered", None)),
    "0006": (_SENT,),
}
"""Seconds after which a message has a status, and the error that it has then, by the number's last four digits."""
_COURSE = "course"


class Messages:
    """The messages of a memory, by a clock in Unix seconds."""

    def __init__(self, memory: Memory, clock: Callable[[], float]) -> None:
        self._memory, self._clock = memory, clock
        memory.refreshers[LIST] = self._advance

    def send(self, call: Call) -> Json:
        """Accept a message; raises Problem as sms-orchestrator's send does for what is wrong with it by itself."""
        draft = compose(call.caller, call.body)
        if draft.send_at is not None:
            check_send_at(draft.send_at, self._now())
        return self._keep(draft)

    def send_batch(self, call: Call) -> Batch:
        """Accept what may be accepted of a batch; raises Problem invalid_request where it has neither form or both."""
        messages: list[Draft | Problem] = []
        for request in in_order(list_requests(call.body), call.faults):
            one = request if isinstance(request, Problem) else compose_request(call.caller, request)
            if isinstance(one, Draft) and one.send_at is not None:
                try:
                    check_send_at(one.send_at, self._now())
                except Problem as problem:
                    one = problem
            messages.append(one)
        for draft in messages:
            if isinstance(draft, Draft):
                self._keep(draft)
        by_recipient = call.body.messages is None
        return answer(Job(call.caller.account_id, None, b"", messages, by_recipient, call.faults.keys()), {})

    def preview(self, call: Call) -> Preview:
        """Measure a text; of what is wrong with it only the number is told."""
        text = make_gsm7(call.body.body) if call.body.smart_encoding else call.body.body
        size, country, errors = measure(text), None, []
        if call.body.to is not None:
            try:
                country = parse_recipient(call.body.to).country
            except Problem as problem:
                errors = list(problem.errors)
        price = money(PRICE_MICROS * size.segments, CURRENCY) if country else None
        return Preview(
            body=text, encoding=size.encoding, segments=size.segments, characters=len(text), units=size.units,
            units_per_segment=size.units_per_segment, left=size.left, forcing=forcing_characters(text),
            country=country, price=price, errors=errors,
        )  # fmt: skip

    def cancel(self, message: Json) -> None:
        """Cancel a message that was not sent yet; raises Problem not_cancelable."""
        if message["status"] not in {"scheduled", "accepted"}:
            raise Problem("not_cancelable", f"The message is {message['status']}.")
        message[_COURSE] = []
        self._pass(message, self._clock(), "canceled", None)

    def redact(self, message: Json) -> None:
        """Take a message's text away; raises Problem not_redactable."""
        if message["status"] not in FINAL_STATUSES:
            raise Problem("not_redactable", f"The message is {message['status']}.")
        message["body"] = None

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _keep(self, draft: Draft) -> Json:
        now = self._clock()
        shown: Message = msgspec.structs.replace(new_message(draft), created_at=_time(now))
        message: Json = msgspec.to_builtins(shown)
        message["events"] = [{"status": draft.status, "at": message["created_at"], "detail": None}]
        start = now if draft.send_at is None else draft.send_at.timestamp()
        course = list(_COURSES.get(draft.recipient[-4:], (_SENT, _DELIVERED)))
        accepted = [] if draft.send_at is None else [(0.0, "accepted", None)]
        message[_COURSE] = [(start + after_s, status, error) for after_s, status, error in accepted + course]
        return self._memory.add(LIST, message)

    def _advance(self, message: Json) -> None:
        """Take a message through the statuses whose time has come."""
        course: list[Any] = message.get(_COURSE, [])
        while course and course[0][0] <= self._clock():
            self._pass(message, *course.pop(0))

    @staticmethod
    def _pass(message: Json, at_s: float, status: str, error: str | None) -> None:
        at = _time(at_s)
        message["status"] = status
        if status == "sent":
            message["sent_at"] = at
            message["price"] = msgspec.to_builtins(money(PRICE_MICROS * message["segments"], CURRENCY))
        if status in FINAL_STATUSES:
            message["completed_at"] = at
        detail = None if error is None else MESSAGE_ERRORS[error].message
        if error is not None:
            message["error"] = {"code": error, "message": detail}
        message["events"].append({"status": status, "at": at, "detail": detail})


def _time(at_s: float) -> str:
    return rfc3339(datetime.fromtimestamp(at_s, UTC))
