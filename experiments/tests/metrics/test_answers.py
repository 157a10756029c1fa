"""Whether a text begins with the answer."""

from __future__ import annotations

import pytest

from mnemotomy.core.errors import DataError
from mnemotomy_bench.metrics.answers import answers_match


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        (" Japan.\nContext", "Japan", True),
        ("japan", "Japan", True),
        ("Japanese", "Japan", False),
        ("in Japan", "Japan", False),
        ("the United States of", "The United States", True),
        ("U.S. of", "U.S.", True),
        ("", "Japan", False),
        ("12", "1", False),
    ],
)
def test_answers_match_at_word_boundaries(text: str, answer: str, expected: bool):
    assert answers_match(text, answer) is expected


def test_an_empty_answer_is_refused():
    with pytest.raises(DataError, match="empty"):
        answers_match("anything", " ")
