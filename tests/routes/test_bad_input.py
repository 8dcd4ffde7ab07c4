"""Whatever comes in is answered by a clear error with a code and never by a 5xx, from the gateway to the database."""

import asyncio
import base64
import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghasi.contract.keys import new_key
from ghasi.contract.row import MAX_BODY_BYTES, Auth, Row
from ghasi.contract.shapes import ProblemBody
from ghasi.contract.statuses import statuses
from ghasi.contract.table import BY_OPERATION, ROWS
from ghasi.contract.values import encode_cursor, new_id
from ghasi.messages.senders.queries import StoredSender
from tests.asgi import Answer
from tests.auth.identity_provider import id_token, unsigned_token
from tests.routes.conftest import Worlds
from tests.routes.scenarios import TOO_LONG
from tests.routes.world import MESSAGE, WEBHOOK, Customer, World, ask, body_of

WITH_BODY = [row for row in ROWS if row.body is not None]
LISTS = [row for row in ROWS if row.query is not None]
PAGED = [row for row in LISTS if row.query is not None and "cursor" in row.query.__struct_fields__]


def names(row: Row) -> str:
    return row.operation


each_with_body = pytest.mark.parametrize("row", WITH_BODY, ids=names)
each_list = pytest.mark.parametrize("row", LISTS, ids=names)


@pytest.fixture(scope="session")
async def customer(worlds: Worlds) -> Customer:
    return await (await worlds.roomy()).sign_in()


def refused(answer: Answer, status: int, *codes: str, field: str | None = None) -> ProblemBody:
    """Hold that an answer is a problem with one of the codes, and about a field where that is said."""
    assert answer.status == status, answer.body
    assert answer.header("content-type") == "application/problem+json"
    problem = msgspec.json.decode(answer.body, type=ProblemBody)
    assert problem.code in codes, answer.body
    assert problem.detail
    if field is not None:
        assert field in [error.field.split("[")[0].split(".")[0] for error in problem.errors], answer.body
    return problem


def one_of_its_own(row: Row, answer: Answer) -> None:
    """Hold that an answer is a success or a refusal that the row declares, and no 5xx."""
    assert answer.status < 500, answer.body
    declared = statuses(row)
    assert answer.status in declared, answer.body
    if answer.status != row.success:
        refused(answer, answer.status, *declared[answer.status])


# bodies

NOT_JSON = {
    "nothing": b"",
    "a space": b" ",
    "half an object": b'{"',
    "half an object with a wrong field": b'{"x": 1,',
    "two documents": b"{}{}",
    "a word": b"hello",
    "a comma too many": b"{,}",
    "single quotes": b"{'to': 1}",
    "NUL": b"\0",
    "a NUL amidst": b'{"x\0": 1}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "not UTF-8": b"\xff\xfe\xfd",
    "a form": b"to=%2B46700000010&body=Hello",
}
NOT_AN_OBJECT = {
    "null": b"null", "a list": b"[]", "a number": b"1", "a text": b'"x"', "true": b"true",
    "lists in lists": b"[" * 100_000, "objects in objects": b'{"a":' * 40_000,
}  # fmt: skip


@each_with_body
async def test_what_is_no_json_is_a_400(row: Row, customer: Customer) -> None:
    for case, body in NOT_JSON.items():
        answer = await ask(customer, row, body=body)
        assert answer.json["code"] == "invalid_json", case
        refused(answer, 400, "invalid_json")
    encoded = msgspec.json.encode(body_of(row))
    for more in (b"{}", b"x", b",", encoded):
        refused(await ask(customer, row, body=encoded + more), 400, "invalid_json")
    for name in fields_of(row):
        for content in (b"\xff", b"\xc3", b"\xed\xa0\x80", rb"\ud800", rb"\udc00\ud800", rb"\x41", b"\x01", b"\n"):
            body = encoded[:-1] + b',"%s":"%s"}' % (name.encode(), content)
            refused(await ask(customer, row, body=body), 400, "invalid_json")


@each_with_body
async def test_json_that_is_no_object_of_the_rows_is_a_422(row: Row, customer: Customer) -> None:
    for case, body in NOT_AN_OBJECT.items():
        answer = await ask(customer, row, body=body)
        assert answer.status == 422, (case, answer.body)
        refused(answer, 422, "invalid_request")
    for name in ("", "__class__", "id", "account_id", "TO", "é", "a" * 1000):
        answer = await ask(customer, row, json=(body_of(row) or {}) | {name: 1})
        assert [error.field for error in refused(answer, 422, "invalid_request").errors] == [name]


def fields_of(row: Row) -> dict[str, msgspec.inspect.Field]:
    assert row.body is not None
    described = msgspec.inspect.type_info(row.body)
    assert isinstance(described, msgspec.inspect.StructType)
    return {field.encode_name: field for field in described.fields}


def takes_null(field: msgspec.inspect.Field) -> bool:
    return isinstance(field.type, msgspec.inspect.UnionType) and field.type.includes_none


def is_one_by_one(row: Row, name: str) -> bool:
    """Whether each item of a list is refused by itself: the answer is a success then."""
    return row.body is not None and name in row.body.one_by_one


@each_with_body
async def test_wrong_types_are_named_by_their_field(row: Row, customer: Customer) -> None:
    good = body_of(row) or {}
    for name, field in fields_of(row).items():
        for wrong in (12.5, {"a": [1]}, [[]], [None], -1e300):
            if isinstance(wrong, list) and is_one_by_one(row, name):
                continue
            refused(await ask(customer, row, json=good | {name: wrong}), 422, "invalid_request", field=name)
        if field.required:
            missing = {key: value for key, value in good.items() if key != name}
            refused(await ask(customer, row, json=missing), 422, "invalid_request", field=name)
            if not takes_null(field):
                refused(await ask(customer, row, json=good | {name: None}), 422, "invalid_request", field=name)


@each_with_body
async def test_nul_is_refused_in_every_field(row: Row, customer: Customer) -> None:
    good = body_of(row) or {}
    codes = ("invalid_request", "invalid_url", "invalid_number", "invalid_sender")
    for name in fields_of(row):
        for text in ("\0", "a\0b"):
            for value in (text, [text], {text: "x"}, {"X-A": text}):
                if isinstance(value, list) and is_one_by_one(row, name):
                    continue
                refused(await ask(customer, row, json=good | {name: value}), 422, *codes, field=name)


@pytest.mark.parametrize("row", ROWS, ids=names)
async def test_a_megabyte_is_a_413(row: Row, customer: Customer) -> None:
    most = row.max_body_bytes
    for size in (max(1024 * 1024, most + 1), most + 1):
        answer = await ask(customer, row, body=b"x" * size)
        assert answer.status == 413
        assert answer.json == {
            "message": "Request size limit exceeded",
            "request_id": answer.header("x-kong-request-id"),
        }


@each_with_body
async def test_the_largest_body_reaches_the_service(row: Row, customer: Customer) -> None:
    await customer.world.hear_of_accounts()
    encoded = msgspec.json.encode(body_of(row))
    answer = await ask(customer, row, body=encoded + b" " * (MAX_BODY_BYTES - len(encoded)))
    assert answer.status == (404 if row.parameters else row.success), answer.body


@pytest.mark.parametrize("row", [row for row in ROWS if row.body is None and row.method != "GET"], ids=names)
async def test_a_body_where_none_is_wanted_does_no_harm(row: Row, roomy: World) -> None:
    customer = await roomy.sign_in()
    for body in (b"{", b"\xff", b"[" * 100_000):
        answer = await ask(customer, row, body=body)
        assert answer.status == (404 if row.parameters else row.success), answer.body
        if row.operation == "refresh_session":
            customer.cookie = (answer.header("set-cookie") or "").partition(";")[0].partition("=")[2]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=()), max_size=40)
    | st.sampled_from(
        [
            "+46700000010", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:60-23:59",
            "https://example.com/", "https://[::1", "http://\u2025/", "message.*", "message.delivered", "messages:send",
            "X-A", "\0", "\u202e", "\U0001f600" * 700, "ghk_", "a.b.c", "....", 2**31, 60, 172800,
        ]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@each_with_body
@settings(max_examples=60)
@given(data=st.data())
async def test_random_values_in_the_right_fields_are_never_a_5xx(
    row: Row, customer: Customer, data: st.DataObject
) -> None:
    good = body_of(row) or {}
    chosen = data.draw(st.dictionaries(st.sampled_from(sorted(fields_of(row))), json_values, min_size=1, max_size=3))
    # a lone surrogate has no UTF-8: it goes as the escape that it can be written by
    body = json.dumps(good | chosen).encode("ascii")
    one_of_its_own(row, await ask(customer, row, body=body))


@each_list
@settings(max_examples=60)
@given(data=st.data())
async def test_random_query_strings_are_never_a_5xx(row: Row, customer: Customer, data: st.DataObject) -> None:
    assert row.query is not None
    parameters = [field.encode_name for field in msgspec.structs.fields(row.query)]
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    likely = st.sampled_from(
        ["", "0", "1", "100", "-1", "1e2", "day", "hour", "country", "open", "accepted", "+46700000010", "%", "\0", "é",
         "2026-11-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:00:00Z", "2026-11-01", str(new_id()),
         encode_cursor(str(new_id())), encode_cursor("x"), encode_cursor(2**70)]
    )  # fmt: skip
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(parameters) | text, likely | text), max_size=3))
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)
    one_of_its_own(row, await ask(customer, row, query=f"?{query}"))


# query strings

BAD_CURSORS = {
    "nonsense": "nonsense",
    "empty": "",
    "too long": "x" * 501,
    "a number": encode_cursor(5),
    "no id": encode_cursor("x"),
    "nothing inside": encode_cursor(),
    "an object": base64.urlsafe_b64encode(b'{"id":1}').decode(),
    "lists in lists": base64.urlsafe_b64encode(b"[" * 300).decode(),
    "not base64": "!!!!",
    "not ASCII": quote("é"),
    "not UTF-8": base64.urlsafe_b64encode(b'["\xff"]').decode(),
    "a plain id": str(new_id()),
}


@pytest.mark.parametrize("row", PAGED, ids=names)
async def test_a_bad_cursor_is_a_422(row: Row, customer: Customer) -> None:
    for case, cursor in BAD_CURSORS.items():
        answer = await ask(customer, row, query=f"?cursor={cursor}")
        assert answer.status == 422, (case, answer.body)
        refused(answer, 422, *(["invalid_request"] if case in {"empty", "too long"} else ["invalid_cursor"]))
    nowhere = await ask(customer, row, query=f"?cursor={encode_cursor(str(new_id()).replace('0', '1', 1))}")
    assert nowhere.status == without_a_resource(row), "a cursor says where to go on, whether something is there or not"


@pytest.mark.parametrize("row", PAGED, ids=names)
async def test_a_bad_limit_is_refused_and_never_clamped(row: Row, customer: Customer) -> None:
    for limit in ("0", "101", "-1", "1.5", "1e-1", "ten", "", "%00", "%31%30%30%30", "9" * 400, "0x10", "null"):
        refused(await ask(customer, row, query=f"?limit={limit}"), 422, "invalid_request", field="limit")
    for limit in ("1", "100"):
        assert (await ask(customer, row, query=f"?limit={limit}")).status == without_a_resource(row)


def without_a_resource(row: Row) -> int:
    """What a good request for a list is answered: that of an endpoint or invoice that nobody has is not there."""
    return 404 if {"webhookId", "invoiceId"} & set(row.parameters) else 200


BAD_VALUES = {
    "list_messages": ["status=late", "status=", "created_after=yesterday", "created_before=2026-11-01",
                      "created_after=2026-11-01T00:00:00", "to=", "reference=", "from=" + "x" * 33],
    "list_invoices": ["status=late", "status=OPEN", "overdue=perhaps", "overdue=", "period=2026", "period=2026-13",
                      "period=1999-12", "period=9999-01"],
    "list_credit_notes": ["invoice_id=", "invoice_id=" + "x" * 36],
    "get_invoice_sources": ["line=-1", "line=x"],
    "list_deliveries": ["status=late", "status=exhausted", "event_type=message.lost", "event_type=*", "message_id=1",
                        "message_id=" + "x" * 36, "created_after=yesterday"],
    "list_rates": ["number=911", "number=%2B0937012345", "number=%2B93%2070%20123", "country=af", "country=AFG",
                   "prefix=", "prefix=x", "prefix=" + "1" * 16, "direction=up", "at=2026-11-01"],
    "get_usage": ["granularity=week", "group_by=carrier", "from=2026-11-01", "to=never", "from=2026-11-01T00:20:00Z",
                  "from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "from=0001-01-01T00:00:00Z",
                  "to=9999-12-31T23:00:00Z", "granularity=hour&from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z",
                  "time_zone=Kabul", "time_zone=", "time_zone=../../etc/passwd"],
    "get_summary": ["granularity=week", "group_by=country", "from=2026-11-01T00:20:00Z", "time_zone=%2B04:30",
                    "from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "from=2020-01-01T00:00:00Z"],
}  # fmt: skip


@each_list
async def test_bad_values_of_a_query_are_a_422(row: Row, customer: Customer) -> None:
    assert row.query is not None
    first = msgspec.structs.fields(row.query)[0].encode_name
    anywhere = [f"{first}=1&{first}=1", "limit=%00", "%ff=1", "surprise=%ff", "page=2", "limit=%C3", "é=1", "=", "x"]
    for query in (*anywhere, *BAD_VALUES.get(row.operation, ())):
        answer = await ask(customer, row, query=f"?{query}")
        assert answer.status == 422, (query, answer.body)
        refused(answer, 422, "invalid_request")


# ids

BAD_IDS = ("1", "x", "not-an-id", "%00", "%ff", "%C3%A9", "..%2f..", "'", '"', ";", "{}", "0" * 36, "x" * 4000,
           str(new_id()).upper(), f"{{{new_id()}}}", new_id().hex,
           f"urn:uuid:{new_id()}", f"%20{new_id()}")  # fmt: skip


@pytest.mark.parametrize("row", [row for row in ROWS if row.parameters], ids=names)
async def test_what_is_no_id_of_ours_is_not_found(row: Row, customer: Customer) -> None:
    for bad in BAD_IDS:
        answer = await ask(customer, row, resource_id=bad)
        if "%2f" in bad:  # a path of another shape: no row's
            assert (answer.status, answer.json["message"]) == (404, "no Route matched with those values")
        else:
            refused(answer, 404, "not_found")


OTHERS_OWN = [
    row for row in ROWS
    if row.parameters and row.auth is Auth.BEARER and not row.path.startswith("/v1/billing/")
    and row.operation != "list_message_deliveries"
]  # fmt: skip


@pytest.mark.parametrize("row", OTHERS_OWN, ids=names)
async def test_another_accounts_resources_are_not_found(row: Row, roomy: World) -> None:
    """Whoever they say they are: an injected header of the client's own is dropped."""
    owner, stranger = await roomy.sign_in(), await roomy.sign_in()
    resource_id: str | tuple[str, ...]
    if "deliveryId" in row.parameters:
        resource_id = await owner.create_delivery()
    elif row.parameters[0] == "userId":
        resource_id = str((await owner.add_person()).user_id)
    else:
        make = {
            "keyId": owner.create_key, "messageId": owner.send, "webhookId": owner.create_webhook,
            "invitationId": owner.invite, "senderId": owner.add_sender, "optOutId": owner.create_opt_out,
        }[row.parameters[0]]  # fmt: skip
        made = await make()
        resource_id = str(made.id) if isinstance(made, StoredSender) else made["id"]
    if row.operation == "redact_message":  # what is on its way is not redacted
        await ask(owner, BY_OPERATION["cancel_message"], resource_id=resource_id)
    spoofed = {"x_account_id": str(owner.account_id), "X_Account_Id": str(owner.account_id)}
    for headers in ({}, spoofed, {"x_user_id": str(owner.user_id), "x_consumer_username": "ghasi-user"}):
        refused(await ask(stranger, row, resource_id=resource_id, **headers), 404, "not_found")
    assert (await ask(owner, row, resource_id=resource_id)).status == row.success


# things that are bad by a service's rules


@pytest.mark.parametrize("url", [
    "https://169.254.169.254/latest/meta-data", "https://169.254.169.254:8443/", "https://[fe80::1]/",
    "https://[::ffff:169.254.169.254]/", "https://[fd00:ec2::254]/", "https://100.100.100.200/", "https://0.0.0.0/",
    "https://2852039166/", "https://0xa9fea9fe/", "https://0251.0376.0251.0376/", "https://169.254.43518/",
    "https://user:password@example.com/", "ftp://example.com/", "//example.com/", "example.com", "https://", "https:///x",
    "https://example.com/#top", "https://example.com:0/", "https://exa mple.com/", "https://[::1", "https://\u2024/",
    "javascript:alert(1)", "https://example.com\\@169.254.169.254/",
])  # fmt: skip
async def test_a_webhook_to_where_none_may_go_is_refused_in_dev_too(url: str, worlds: Worlds) -> None:
    for world in (await worlds.roomy(), await worlds.dev()):
        customer = await world.sign_in()
        for operation in ("create_webhook", "update_webhook"):
            answer = await ask(customer, BY_OPERATION[operation], json=WEBHOOK | {"url": url})
            refused(answer, 422, "invalid_url", field="url")
        assert (await customer.call("GET", "/v1/webhooks")).json["data"] == []


async def test_private_addresses_are_for_dev_alone(worlds: Worlds) -> None:
    for url in ("http://127.0.0.1:9999/", "http://192.168.1.1/", "https://localhost/", "http://example.com/"):
        body = WEBHOOK | {"url": url}
        refused(await (await (await worlds.roomy()).sign_in()).call("POST", "/v1/webhooks", body), 422, "invalid_url")
        assert (await (await (await worlds.dev()).sign_in()).call("POST", "/v1/webhooks", body)).status == 201


BAD_MESSAGES: list[tuple[dict[str, Any], str, str]] = [
    *(({"to": to}, "invalid_number", "to") for to in (
        "46700000010", "+999", "+1", "0046700000010", "+46 70 000 00 10", "+467000000100000", "+", "tel:+46700000010",
        "+46700000010;ext=1", "\uff0b46700000010", "+4670000001\u0660", "hello", "+1\u202e5551234",
    )),
    *(({"from": sender}, "invalid_sender", "from") for sender in (
        "twelve chars", "+1", "12", "123456789", "emoji \U0001f600", " padded", "+46\u0660700000010", "a\nb",
    )),
    ({"body": TOO_LONG}, "body_too_long", "body"),
    ({"body": "\u0416" * (10 * 67 + 1)}, "body_too_long", "body"),
    ({"body": "[" * (10 * 76 + 1)}, "body_too_long", "body"),
    ({"body": ""}, "invalid_request", "body"),
    ({"to": ""}, "invalid_request", "to"),
    ({"send_at": "2999-01-01T00:00:00Z"}, "invalid_send_at", "send_at"),
    ({"validity_s": 59}, "invalid_request", "validity_s"),
    ({"validity_s": 172801}, "invalid_request", "validity_s"),
    ({"reference": "x" * 256}, "invalid_request", "reference"),
]  # fmt: skip


async def test_bad_messages_are_refused_and_not_kept(roomy: World) -> None:
    customer = await roomy.sign_in()
    for fields, code, name in BAD_MESSAGES:
        refused(await customer.call("POST", "/v1/messages", MESSAGE | fields), 422, code, field=name)
    assert (await customer.call("GET", "/v1/messages")).json["data"] == []
    assert (await customer.call("POST", "/v1/messages", MESSAGE | {"body": TOO_LONG[1:]})).json["segments"] == 10


async def test_bad_api_keys_are_refused_and_not_made(roomy: World) -> None:
    customer = await roomy.sign_in()
    for fields in (
        {"name": ""}, {"name": "x" * 101}, {"scopes": []}, {"scopes": ["everything"]},
        {"scopes": ["messages:send"] * 6},
        {"expires_at": "2020-01-01T00:00:00Z"}, {"expires_at": "2999-01-01"}, {"expires_at": "2999-02-30T00:00:00Z"},
        {"expires_at": 4_000_000_000}, {"key": new_key()},
    ):  # fmt: skip
        answer = await customer.call("POST", "/v1/api-keys", {"name": "a key", **fields})
        refused(answer, 422, "invalid_request", field=next(iter(fields)))
    assert (await customer.call("GET", "/v1/api-keys")).json["data"] == []


async def test_a_key_that_expired_or_was_revoked_or_never_was_is_a_401(roomy: World) -> None:
    customer = await roomy.sign_in()
    expired = await customer.create_key(expires_at="2999-01-01T00:00:00Z")
    await roomy.resources.pool.execute(
        "UPDATE auth.api_keys SET expires_at = now() - interval '1 second' WHERE id = $1::uuid", expired["id"]
    )
    revoked = await customer.create_key()
    assert (await customer.call("DELETE", f"/v1/api-keys/{revoked['id']}")).status == 204
    wrong_checksum = expired["key"][:-1] + ("a" if expired["key"][-1] != "a" else "b")
    for key in (expired["key"], revoked["key"], new_key(), wrong_checksum, "ghk_", "ghk_\u00e9"):
        answer = await customer.call("POST", "/v1/messages", MESSAGE, authorization=f"Bearer {key}")
        assert (answer.status, answer.json) == (401, {"message": "Unauthorized"})
        assert answer.header("www-authenticate") == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("operation", ["create_api_key", "create_webhook"])
async def test_a_duplicate_is_told_which_it_duplicates(operation: str, roomy: World) -> None:
    customer, row = await roomy.sign_in(), BY_OPERATION[operation]
    answers = await asyncio.gather(*(ask(customer, row, idempotency_key="once") for _ in range(5)))
    [made] = [answer for answer in answers if answer.status == 201]
    for answer in answers:
        if answer is not made:
            assert made.json["id"] in refused(answer, 409, "already_created").detail
    for bad in ("", " ", "x" * 256, " x", "é", "a\tb"):
        refused(await ask(customer, row, idempotency_key=bad), 422, "invalid_idempotency_key", field="Idempotency-Key")


async def test_a_duplicate_message_is_sent_once(roomy: World) -> None:
    customer, row = await roomy.sign_in(), BY_OPERATION["send_message"]
    answers = await asyncio.gather(*(ask(customer, row, idempotency_key="once") for _ in range(20)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body for answer in answers}) == 1
    assert len((await customer.call("GET", "/v1/messages")).json["data"]) == 1


@pytest.mark.parametrize("token", [
    "x", "a.b.c", "..", "é.é.é", id_token(exp=1), id_token(aud="another"), id_token(iss="another"), id_token(sub=""),
    id_token(signed_by="second"), id_token(kid="unknown"), id_token({"sub": [[]]}), unsigned_token(), "." * 16384,
], ids=range(13))  # fmt: skip
async def test_a_bad_id_token_is_a_401(token: str, roomy: World) -> None:
    answer = await roomy.call("POST", "/v1/auth/firebase", json={"id_token": token})
    refused(answer, 401, "invalid_id_token")
    assert answer.header("set-cookie") is None
