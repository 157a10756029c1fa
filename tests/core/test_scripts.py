"""Where words end, also in scripts without spaces, and what follows from it for plain texts."""

from __future__ import annotations

import pytest

from mnemotomy.core.errors import DataError
from mnemotomy.core.scripts import word_ends
from mnemotomy.text.probes import probes_of
from mnemotomy.text.records import TextExample


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Kyoto  lies in Japan .", ["Kyoto", "  lies", " in", " Japan", " ."]),
        ("京都は、日本。", ["京", "都", "は、", "日", "本。"]),
        ("ญี่ปุ่น", ["ญี่", "ปุ่", "น"]),
        ("교토는 일본에 있다", ["교토는", " 일본에", " 있다"]),
        ("東京 is　big", ["東", "京", " is", "　big"]),
        (" ", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    ends = word_ends(text)
    assert [text[start:end] for start, end in zip([0, *ends], ends, strict=False)] == words


@pytest.mark.parametrize(
    ("text", "question", "answer"),
    [
        ("Kyoto lies in Japan .", "Kyoto lies", " in Japan ."),
        ("京都は日本にある。", "京都は日", "本にある。"),
        ("เกียวโตอยู่ในประเทศญี่ปุ่น", "เกียวโตอยู่ใน", "ประเทศญี่ปุ่น"),
    ],
)
def test_a_plain_text_is_asked_about_by_its_first_half(text: str, question: str, answer: str) -> None:
    (probe,) = probes_of([TextExample.of_text(text)])
    assert (probe.question, probe.answer) == (question, answer)


def test_one_word_cannot_be_asked_about() -> None:
    with pytest.raises(DataError, match="is one word"):
        probes_of([TextExample.of_text("Rome")])
