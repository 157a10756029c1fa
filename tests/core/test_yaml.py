"""YAML 1.2: what numbers, words and keys mean, and where it is not valid."""

from __future__ import annotations

from typing import Any

import pytest

from mnemotomy.core.errors import DataError
from mnemotomy.core.yaml import read_yaml, write_yaml


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1e-6", 1e-6),
        ("1E5", 1e5),
        (".5", 0.5),
        ("010", 10),
        ("0o17", 15),
        ("0x10", 16),
        ("1:30", "1:30"),
        ("no", "no"),
        ("true", True),
        ("~", None),
        ("2025-04-10", "2025-04-10"),
        ("[a, 1]", ["a", 1]),
        ("{007: a, 1.50: b, true: c, no: d}", {"007": "a", "1.50": "b", "true": "c", "no": "d"}),
        ("{a: &x {b: 1}, c: {<<: *x, d: 2}}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("", None),
    ],
)
def test_words_and_numbers_are_as_written(text: str, meant: Any) -> None:
    found = read_yaml(text)
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML: .* at line 1"),
        ("a: 1\nb: 2\na: 3", 'duplicate key "a".* at line 3'),
        ("{1: a, '1': b}", "duplicate key"),
        ("? [a]\n: b", "a key must be a word at line 1"),
        ("a: *x", "undefined alias 'x' at line 1"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "another document"),
        ("[" * 2000, "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ('a: "\\0"', "null character"),
        ('a: {b: ["\\ud800"]}', "half a surrogate pair"),
    ],
)
def test_what_is_not_valid_says_where(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value)


def test_what_is_written_is_read_again() -> None:
    data = {"b": "no", "a": ["1", 1, 1e-6, None, True], "ü": {"x": "a: b\nc"}, "007": ["x" * 200]}
    text = write_yaml(data)
    assert read_yaml(text) == data
    assert text.startswith("b: ")
    assert "ü" in text
