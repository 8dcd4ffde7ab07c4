"""The matcher: every row is found by its path, and nothing else is."""

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ghasi.contract.table import ROWS, Matcher

MATCHER = Matcher()
METHODS = sorted({row.method for row in ROWS} | {"PATCH", "HEAD", "OPTIONS"})
SEGMENT = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=40)
WORDS = ("v1", "auth", "messages", "webhooks", "api-keys", "billing", "usage", "invoices", "rotate", "me", "V1", "x")
PATHS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from([*WORDS, "", ".", ".."]), max_size=6).map(lambda parts: "/" + "/".join(parts)),
    st.builds(
        lambda row, change: change(row.path),
        st.sampled_from(ROWS),
        st.sampled_from([
            lambda path: path,
            lambda path: path + "/",
            lambda path: path + "x",
            lambda path: path + "\n",
            lambda path: "/" + path,
            lambda path: path[:-1],
            lambda path: path.upper(),
            lambda path: path.replace(".", "x"),
            lambda path: path.replace("/v1/", "/v1//"),
            lambda path: path.replace("/v1/", "/v1/./"),
        ]),
    ),
)  # fmt: skip


def expected(method: str, path: str) -> set[str]:
    """Which rows a path is of, segment by segment: a parameter is one segment that isn't empty."""
    found = set()
    for row in ROWS:
        mine, theirs = row.path.split("/"), path.split("/")
        if row.method == method and len(mine) == len(theirs) and all(
            there != "" if re.fullmatch(r"{\w+}", here) else here == there
            for here, there in zip(mine, theirs, strict=True)
        ):  # fmt: skip
            found.add(row.operation)
    return found


@given(st.sampled_from(METHODS), PATHS)
@example("GET", "/v1/messages/")
@example("GET", "/v1/messages/a/b")
@example("GET", "/V1/messages")
@example("GET", "/v1/messages/\n")
@example("GET", "/xwell-known/jwks.json")
@example("GET", "/.well-known/jwksxjson")
@example("HEAD", "/v1/messages")
def test_a_path_matches_the_row_it_is_of_and_no_other(method: str, path: str) -> None:
    found = MATCHER.find(method, path)
    assert {found[0].operation} if found else set() == expected(method, path)
    assert (found is not None) == bool(expected(method, path))


@given(st.sampled_from(ROWS), st.data())
def test_every_row_is_found_with_its_parameters_whatever_they_are(row, data) -> None:
    values = {name: data.draw(SEGMENT) for name in row.parameters}
    found = MATCHER.find(row.method, row.path.format(**values))
    assert found is not None
    assert found == (row, values)


@given(SEGMENT, st.text(string.printable, max_size=20))
def test_an_id_with_a_slash_is_another_path(first: str, rest: str) -> None:
    for prefix in ("/v1/messages/", "/v1/webhooks/", "/v1/api-keys/", "/v1/billing/invoices/"):
        found = MATCHER.find("GET", f"{prefix}{first}/{rest}")
        assert found is None


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/webhooks/abc", {"GET", "PUT", "DELETE"}),
        ("/v1/messages", {"GET", "POST"}),
        ("/v1/messages/", set()),
        ("/v1/unknown", set()),
    ],
)
def test_methods_of_a_path(path: str, methods: set[str]) -> None:
    assert set(MATCHER.methods(path)) == methods
