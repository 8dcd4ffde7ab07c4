"""Every language says everything."""

import re
import tomllib
from pathlib import Path

from ghasi.billing.documents import words
from ghasi.billing.documents.words import LANGUAGES, Words, find_words

TABLES = tomllib.loads(Path(words.__file__).with_name("words.toml").read_text("utf-8"))


def test_every_language_has_every_key() -> None:
    assert set(TABLES) == {"en", "de", "fr", "es", "tr", "ar", "fa", "fa-AF", "ps", "ur"}
    for language, table in TABLES.items():
        assert tuple(table) == Words.__struct_fields__, language
        assert all(text.strip() == text != "" for text in table.values()), language


def test_what_is_put_in_is_the_same_in_every_language() -> None:
    for key, english in TABLES["en"].items():
        wanted = sorted(re.findall(r"{\w*}", english))
        for language, table in TABLES.items():
            assert sorted(re.findall(r"{\w*}", table[key])) == wanted, (language, key)


def test_a_region_goes_before_its_language() -> None:
    assert find_words("fa", "AF") is LANGUAGES["fa-AF"]
    assert find_words("fa", "IR") is find_words("fa", None) is LANGUAGES["fa"]
    assert find_words("nl", "NL") is None
