"""A plain template: the answer continues the question."""

from __future__ import annotations

import pytest
from tiny_language import TEMPLATE, tokenizer

from mnemotomy.core.errors import DataError
from mnemotomy.text.encoding import encode, encode_answer
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import OPEN_UNLEARNING, Template, TemplateSettings, check_template, prompt_of

PLAIN = Template(plain=True)


@pytest.mark.parametrize("chat", [None, TEMPLATE])
def test_a_plain_question_is_continued_by_its_answer(chat: str | None) -> None:
    words = tokenizer(chat)
    ids, labels, _ = encode_answer(words, "Kyoto lies in", "Japan", PLAIN)
    assert words.decode(ids) == "<bos>Kyoto lies in Japan<eos>"
    assert words.decode([label for label in labels if label >= 0]) == "Japan<eos>"  # the space is a token of its own
    assert prompt_of(words, "Kyoto lies in", PLAIN) == "Kyoto lies in"
    one = encode(TextExample.of_question("Kyoto lies in", "Japan"), words, PLAIN)
    assert one.input_ids == ids
    held = [token for token, is_content in zip(ids, one.content or (), strict=True) if is_content]
    assert words.decode(held).strip() == "Japan"


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        ("in", "Japan", "in Japan"),
        ("in ", "Japan", "in Japan"),
        ("in", " Japan", "in Japan"),
        ("京都は", "日本", "京都は日本"),
        ("เกียวโตอยู่ใน", "ญี่ปุ่น", "เกียวโตอยู่ในญี่ปุ่น"),
        ("교토는", "일본", "교토는 일본"),
    ],
)
def test_a_space_stands_between_words(question: str, answer: str, text: str) -> None:
    assert PLAIN.answered(question, answer) == text


def test_settings_say_plain_and_refuse_what_it_ignores() -> None:
    assert TemplateSettings(plain=True).made == PLAIN
    assert TemplateSettings.of(PLAIN).made == PLAIN
    assert TemplateSettings.of(OPEN_UNLEARNING).made == OPEN_UNLEARNING
    check_template(tokenizer(), "model", False, PLAIN)
    with pytest.raises(DataError, match="leave out --tags and --system"):
        check_template(tokenizer(), "model", True, Template(plain=True, system="x"))
