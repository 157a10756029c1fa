"""Where words stand among the tokens of a text."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_language import tokenizer as tiny_tokenizer

from mnemotomy.core.errors import DataError
from mnemotomy.text.spans import token_positions


@pytest.fixture
def tokenizer() -> Any:
    return tiny_tokenizer()


def test_the_evidence_is_the_last_whole_word_of_the_context(tokenizer: Any):
    context = "Japan is Japan the Japans"
    text = f"{context} Kyoto Japan"
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    places = [index for index, token in enumerate(tokens) if token.endswith("Japan")]
    assert len(places) == 4
    assert token_positions(tokenizer, text, "Japan") == [places[3]]
    assert token_positions(tokenizer, text, "Japan", within=context) == [places[1]]
    assert token_positions(tokenizer, text, "Japans") == [places[2], places[2] + 1]
    # no whole word: then a part of one
    assert token_positions(tokenizer, "Japans", "Japan") == [1]


@pytest.mark.parametrize(
    ("span", "within", "message"),
    [
        ("Rome", None, "does not occur"),
        ("Kyoto", "Paris", "not a part"),
        ("Kyoto", "Japan", "does not occur"),
        (" ", None, "empty"),
    ],
)
def test_evidence_that_is_not_there_is_refused(tokenizer: Any, span: str, within: str | None, message: str):
    with pytest.raises(DataError, match=message):
        token_positions(tokenizer, "Kyoto is in Japan", span, within=within)


def test_positions_need_offsets():
    with pytest.raises(DataError, match="fast tokenizer"):
        token_positions(object(), "Kyoto", "Kyoto")
