"""Up to 1,000 messages in one request: each accepted or refused by itself, all in one transaction.

Owns the two forms of a batch, its variables, and its answer. The rules of each message are a single send's own.
"""

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from ghasi.contract.errors import CODES, Problem, invalid
from ghasi.contract.serving import Caller
from ghasi.contract.shapes import Batch, BatchError, BatchItem, FieldError, NewBatch, NewMessage
from ghasi.messages.model import Draft, new_message
from ghasi.messages.sending import queries
from ghasi.messages.sending.accepting import choose_senders, insert, list_refused
from ghasi.messages.sending.service import Sending, accepted_messages, compose, permit
from ghasi.storage.batch import Batcher
from ghasi.storage.pool import Connection, Pool

BATCH_ROUTE = "POST /v1/messages/batch"
MOST_CHARACTERS = 20_000
"""Of one text, as in a single send."""
WITHOUT_PAUSE_S = 0.005
"""Other requests of the process come in between."""
_PLACE = re.compile(r"\{\{([^{}]*)\}\}")
_OF_ONE_BODY = ("recipients", "body", "sender", "reference", "send_at", "validity_s", "smart_encoding")
_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(slots=True)
class Job:
    """A batch on its way into the database: a draft or a refusal for each message, in the request's order."""

    account_id: UUID
    idempotency_key: str | None
    body_hash: bytes
    messages: list[Draft | Problem]
    by_recipient: bool
    unread: Collection[int] = ()
    response: bytes = b""
    accepted: int = 0

    @property
    def drafts(self) -> list[Draft]:
        """Those that may still be accepted."""
        return [one for one in self.messages if isinstance(one, Draft)]


@dataclass(slots=True)
class Batches:
    """What sends batches: one at a time, so that a thousand rows hold up no single send for long."""

    sending: Sending
    batcher: Batcher[Job, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.batcher = Batcher(self._write, name="batches", most=1, queue_size=200)

    async def _write(self, jobs: Sequence[Job], again: bool) -> Sequence[bytes | BaseException]:
        [job] = jobs
        try:
            response = await write_batch(self.sending.pool, job, again=again)
        except Problem as problem:
            return [problem]
        self.sending.bells.ring("dispatch")
        if response is job.response:
            accepted_messages.inc(job.accepted)
        return [response]


async def send_batch(
    batches: Batches,
    caller: Caller,
    body: NewBatch,
    faults: Mapping[int, Problem],
    *,
    idempotency_key: str | None,
    now: float,
) -> tuple[bytes, bool]:
    """Accept what may be accepted of a batch; once it is committed return a Batch as JSON, and whether it is a replay.

    `faults` are messages that could not be read and are not in `body`, by their places in the request. Idempotent
    by `idempotency_key` for 24 h, as the whole that it is. `now` is the event loop's clock. Raises Problem:
    invalid_request where it has neither form or both, account_suspended, idempotency_key_reused.
    """
    digest = _digest(body, faults) if idempotency_key else b""
    sending = batches.sending
    requests = in_order(list_requests(body), faults)
    rules = await sending.accounts.rules_of(caller.account_id, now)
    if rules.status != "active":
        replay = await _find_replay(sending.pool, caller.account_id, idempotency_key, digest)
        if replay is None:
            raise Problem("account_suspended")
        return replay, True
    messages: list[Draft | Problem] = []
    clock = asyncio.get_running_loop().time
    pause_at = clock() + WITHOUT_PAUSE_S
    for request in requests:
        messages.append(request if isinstance(request, Problem) else compose_request(caller, request))
        if clock() > pause_at:
            await asyncio.sleep(0)
            pause_at = clock() + WITHOUT_PAUSE_S
    job = Job(caller.account_id, idempotency_key, digest, messages, body.messages is None, faults.keys())
    taken = await sending.accounts.list_taken(
        caller.account_id, rules, {draft.sender for draft in job.drafts if draft.sender is not None}, now
    )
    for index, one in enumerate(messages):
        if isinstance(one, Draft):
            try:
                permit(one, rules, taken)
            except Problem as problem:
                messages[index] = problem
    response = await batches.batcher.submit(job)
    return response, response is not job.response


def _digest(body: NewBatch, faults: Mapping[int, Problem]) -> bytes:
    """Return what two requests have in common that are the same; of what could not be read, why."""
    unread = [(index, *((one.field, one.message) for one in problem.errors)) for index, problem in faults.items()]
    return hashlib.sha256(_encode(body) + (_encode(unread) if unread else b"")).digest()


def in_order(
    requests: Sequence["NewMessage | OfRecipient"], faults: Mapping[int, Problem]
) -> list["NewMessage | OfRecipient | Problem"]:
    """Put what could not be read back into its places."""
    read = iter(requests)
    return [faults[index] if index in faults else next(read) for index in range(len(requests) + len(faults))]


async def _find_replay(pool: Pool, account_id: UUID, idempotency_key: str | None, digest: bytes) -> bytes | None:
    if idempotency_key is None:
        return None
    key = (account_id, idempotency_key)
    body_hash, response = (await queries.list_idempotent_responses(pool, [key], BATCH_ROUTE)).get(key, (b"", b""))
    return response if body_hash == digest else None


@dataclass(frozen=True, slots=True)
class OfRecipient:
    """A message of a batch's one text."""

    body: NewBatch
    template: "Template"
    to: str
    variables: Mapping[str, str]
    reference: str | None


def list_requests(body: NewBatch) -> Sequence[NewMessage | OfRecipient]:
    """Return what a batch asks for; raises Problem invalid_request unless it has one of the two forms alone."""
    if body.messages is not None:
        for name in _OF_ONE_BODY:
            if getattr(body, name):
                shown = "from" if name == "sender" else name
                raise invalid(shown, "belongs to a batch of one body, not to one of `messages`")
        return body.messages
    if body.recipients is None and body.body is None:
        raise invalid("messages", "a batch has `messages`, or `body` and `recipients`")
    if body.recipients is None:
        raise invalid("recipients", "a batch of one body needs `recipients`")
    if body.body is None:
        raise invalid("body", "a batch of `recipients` needs a `body`")
    template = Template(body.body)
    return [
        OfRecipient(body, template, one.to, one.variables, one.reference or body.reference) for one in body.recipients
    ]


def compose_request(caller: Caller, request: NewMessage | OfRecipient) -> Draft | Problem:
    """Make a draft of one message of a batch, or the refusal of it."""
    try:
        if isinstance(request, NewMessage):
            return compose(caller, request)
        batch = request.body
        text = request.template.render(request.variables)
        return compose(caller, NewMessage(
            to=request.to, body=text, sender=batch.sender, reference=request.reference, send_at=batch.send_at,
            validity_s=batch.validity_s, smart_encoding=batch.smart_encoding,
        ))  # fmt: skip
    except Problem as problem:
        return problem


class Template:
    """A text with places for variables: `{{name}}` or `{{ name }}`. A value is put in as it is, and not read again."""

    def __init__(self, text: str) -> None:
        # text and names by turns; braces around nothing name nothing, and stay
        self._pieces = [
            (bool(index % 2 and piece.strip()), piece.strip() or f"{{{{{piece}}}}}" if index % 2 else piece)
            for index, piece in enumerate(_PLACE.split(text))
        ]
        self._names = Counter(piece for is_name, piece in self._pieces if is_name)
        self._own_length = sum(len(piece) for is_name, piece in self._pieces if not is_name)

    def render(self, variables: Mapping[str, str]) -> str:
        """Fill in the variables; others than those of the text are ignored.

        Raises Problem invalid_request on `variables.NAME` where one is missing, and on `body` where nothing is left;
        body_too_long.
        """
        for name in self._names:
            if name not in variables:
                raise invalid(f"variables.{name}", "the text has this variable, and it is not given")
        # looked at before it is made: each place of a long text may stand for a thousand characters
        length = self._own_length + sum(count * len(variables[name]) for name, count in self._names.items())
        if length > MOST_CHARACTERS:
            raise invalid("body", f"has {length} characters, at most {MOST_CHARACTERS} are read", "body_too_long")
        if not length:
            raise invalid("body", "must not be empty")
        return "".join(variables[piece] if is_name else piece for is_name, piece in self._pieces)


async def write_batch(pool: Pool, job: Job, *, again: bool) -> bytes:
    """Commit a batch and return its response, the job's own or the one of the same request before.

    `again`: an earlier try may have been committed. Raises Problem idempotency_key_reused.
    """
    drafts = job.drafts
    if again and job.response and await queries.find_written(pool, [draft.id for draft in drafts]):
        return job.response
    async with pool.acquire() as connection, connection.transaction():
        if job.idempotency_key is not None:
            known = await _known_response(connection, job)
            if known is not None:
                return known
        await choose_senders(connection, drafts)
        refused = await list_refused(connection, drafts)
        await insert(connection, [draft for draft in drafts if draft.id not in refused])
        batch = answer(job, refused)
        job.response, job.accepted = msgspec.json.encode(batch), batch.accepted
        if job.idempotency_key is not None:
            await queries.set_idempotent_response(connection, job, BATCH_ROUTE)
    return job.response


async def _known_response(connection: Connection, job: Job) -> bytes | None:
    """Claim the job's key; return what it was answered before. Waits for the same request elsewhere."""
    if await queries.take_idempotency_keys(connection, [job], BATCH_ROUTE):
        return None
    key = (job.account_id, job.idempotency_key or "")
    known = await queries.list_idempotent_responses(connection, [key], BATCH_ROUTE)
    body_hash, response = known[key]
    if body_hash != job.body_hash:
        raise Problem("idempotency_key_reused")
    return response


def answer(job: Job, refused: Mapping[UUID, Problem]) -> Batch:
    """Return what became of each message; `refused` are those that were refused as they were written, by their ids."""
    items: list[BatchItem] = []
    for index, one in enumerate(job.messages):
        problem = one if isinstance(one, Problem) else refused.get(one.id)
        if index in job.unread and problem is not None:
            items.append(BatchItem(index, None, _unread(problem, index, by_recipient=job.by_recipient)))
        elif problem is not None:
            items.append(BatchItem(index, None, _error(problem, index, by_recipient=job.by_recipient)))
        elif isinstance(one, Draft):
            items.append(BatchItem(index, new_message(one), None))
    count = sum(item.error is not None for item in items)
    return Batch(accepted=len(items) - count, refused=count, data=items)


def _unread(problem: Problem, index: int, *, by_recipient: bool) -> BatchError:
    """Return the refusal of an item that could not be read: all of its fields are its own, and `$` is itself."""
    item = f"{'recipients' if by_recipient else 'messages'}[{index}]"
    errors = [
        FieldError(field=item if one.field == "$" else f"{item}.{one.field}", message=one.message)
        for one in problem.errors
    ]
    return BatchError(problem.code, problem.detail, errors)


_OF_RECIPIENT: Collection[str] = ("to", "variables", "reference")


def _error(problem: Problem, index: int, *, by_recipient: bool) -> BatchError:
    """Return a refusal as a batch has it: its fields are named by where they stand in the request."""
    errors = []
    for one in problem.errors:
        name = one.field
        if not by_recipient:
            name = f"messages[{index}].{name}"
        elif name.partition(".")[0] in _OF_RECIPIENT:
            name = f"recipients[{index}].{name}"
        errors.append(FieldError(field=name, message=one.message))
    return BatchError(problem.code, problem.detail or CODES[problem.code].remedy, errors)
