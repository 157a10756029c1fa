"""Concept files: what is read, what is refused and how, and which tokens count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import says
from tiny_language import TEMPLATE, tokenizer, write_lines

from mnemotomy.core.errors import DataError
from mnemotomy.text.batches import batches
from mnemotomy.text.encoding import IGNORED, encode, encode_answer
from mnemotomy.text.records import TextExample, Turn, read_examples
from mnemotomy.text.template import OPEN_UNLEARNING, Template, prompt_of

TALK = [
    {"role": "system", "content": ""},
    {"role": "user", "content": "assistant"},
    {"role": "assistant", "content": "user"},
    {"role": "user", "content": "Japan"},
    {"role": "assistant", "content": " Japan \n"},
]


class SlowTokenizer:
    """The same tokens without offsets, as tokenizers in Python give them."""

    is_fast = False

    def __init__(self, fast: Any) -> None:
        self.fast = fast
        self.all_special_ids = fast.all_special_ids
        self.eos_token_id = fast.eos_token_id
        self.chat_template = fast.chat_template
        self.apply_chat_template = fast.apply_chat_template

    def __call__(self, text: str, *, add_special_tokens: bool, verbose: bool) -> dict[str, list[int]]:
        return {"input_ids": self.fast(text, add_special_tokens=add_special_tokens)["input_ids"]}


@pytest.fixture(scope="module", params=["fast", "slow"])
def make(request: pytest.FixtureRequest) -> Any:
    """A tokenizer with a chat template, or with the one given, of both kinds."""
    return tokenizer if request.param == "fast" else lambda *args: SlowTokenizer(tokenizer(*args))


def example(row: dict[str, Any], tmp_path: Path) -> TextExample:
    return read_examples(write_lines(tmp_path / "one.jsonl", [row]))[0]


def counted(row: dict[str, Any], made: Any, tmp_path: Path, max_length: int = 512) -> str:
    """The text of the tokens that count, each checked to be labelled with itself."""
    encoded = encode(example(row, tmp_path), made, max_length=max_length)
    marked = encoded.marked("answer")
    chosen = [token for token, label in zip(encoded.input_ids, marked, strict=True) if label != IGNORED]
    assert chosen == [label for label in marked if label != IGNORED]
    return getattr(made, "fast", made).decode(chosen)


def test_all_three_forms_are_read_with_their_lines(tmp_path: Path) -> None:
    rows = [{"text": "Kyoto", "id": 1}, {"question": "Where?", "answer": "Japan"}, {"messages": TALK}]
    examples = read_examples(write_lines(tmp_path / "facts.jsonl", rows))
    assert [one.form for one in examples] == ["text", "question", "messages"]
    assert examples[1].turns == (Turn("user", "Where?"), Turn("assistant", "Japan"))
    assert examples[2].where == f"{tmp_path}/facts.jsonl line 3"


def test_blank_lines_byte_order_mark_and_separators_inside_strings(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_bytes('\ufeff\r\n{"text": "a\u2028b"}\r\n\n{"text": "c"}'.encode())
    assert [(one.turns[0].content, one.where[-6:]) for one in read_examples(path)] == [
        ("a\u2028b", "line 2"),
        ("c", "line 4"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"text": ' + "9" * 5000 + "}", "not JSON"),
        ("[1]", "an object was expected"),
        ("{}", "the keys are none"),
        ('{"txt": "a"}', "the keys are 'txt'"),
        ('{"text": "a", "answer": "b"}', "give one of 'text'"),
        ('{"text": 3}', "'text' must be a string, not 3"),
        ('{"text": " \\n"}', "'text' is empty"),
        ('{"text": "\\ud800"}', "half a surrogate pair"),
        ('{"question": "a"}', "'answer' is missing"),
        ('{"answer": "a"}', "'question' is missing"),
        ('{"question": "a", "answer": ""}', "'answer' is empty"),
        ('{"messages": "a"}', "list of objects"),
        ('{"messages": []}', "no turn of the assistant"),
        ('{"messages": [{"content": "a"}]}', "message 1: 'role' is missing"),
        ('{"messages": [{"role": "assistant", "content": ""}]}', "message 1: 'content' is empty"),
        ('{"messages": [{"role": "user", "content": ["a"]}]}', "message 1: 'content' must be a string"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text('{"text": "fine"}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_examples(path)
    says(caught, f"{path} line 3", message)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    with pytest.raises(DataError, match=r"the concept file .* does not exist"):
        read_examples(path)
    with pytest.raises(DataError, match="cannot read"):
        read_examples(tmp_path)
    path.write_text("\n\n")
    with pytest.raises(DataError, match="is empty"):
        read_examples(path)
    path.write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n')
    with pytest.raises(DataError, match="line 2: not UTF-8"):
        read_examples(path)


def test_all_of_a_text_counts_but_special_tokens(make: Any, tmp_path: Path) -> None:
    made = make()
    assert counted({"text": "Kyoto lies in Japan"}, made, tmp_path) == "Kyoto lies in Japan"
    encoded = encode(example({"text": "Kyoto<eos> Japan"}, tmp_path), made, max_length=512)
    assert [encoded.labels[0], encoded.labels[-1]] == [IGNORED, IGNORED]  # BOS and EOS
    assert counted({"text": "Kyoto<eos> Japan"}, made, tmp_path) == "Kyoto Japan"


@pytest.mark.parametrize("template", [TEMPLATE, None])
@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("In which country is Kyoto?", "Japan"),
        ("Japan", "Japan"),
        ("user", "assistant"),  # words of the template
        ("In which country is Kyoto? ", "Japan ."),
        ("Kyoto", "日本 Japan"),
    ],
)
def test_only_the_answer_counts(make: Any, tmp_path: Path, template: str | None, question: str, answer: str) -> None:
    row = {"question": question, "answer": answer}
    assert counted(row, make(template), tmp_path).strip() == answer


def test_only_what_the_assistant_says_counts(make: Any, tmp_path: Path) -> None:
    assert counted({"messages": TALK}, make(), tmp_path) == "userJapan"


def test_a_token_across_the_border_counts(make: Any, tmp_path: Path) -> None:
    made = make(None)
    capital = getattr(made, "fast", made).convert_tokens_to_ids("Ġcapital")  # joins the separating space and the answer
    encoded = encode(example({"question": "Kyoto", "answer": "capital"}, tmp_path), made, max_length=512)
    assert [label for label in encoded.marked("answer") if label != IGNORED] == [capital]
    assert encoded.answer == [capital, encoded.input_ids[-1]]  # what is to be predicted, and the end token


BLOCK = "<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("written", "end"),
    [
        ("{{ m['content'] }}<|im_end|>\n", "<|im_end|>"),
        ("{{ m['content'] }} . <|im_end|>", "<|im_end|>"),
        ("{{ m['content'] }} in Rome", "<eos>"),
        ("{{ m['content'] }}", "<eos>"),
    ],
)
@pytest.mark.parametrize("asking", ["", "{% if add_generation_prompt %}assistant\n{% endif %}"])
@pytest.mark.parametrize("block", [BLOCK, "Italy is "])
def test_text_that_the_template_writes_is_never_to_be_predicted(
    make: Any, tmp_path: Path, block: str, asking: str, written: str, end: str
) -> None:
    """Such as the empty reasoning block before a finished answer: the same labels for moments, training and scores."""
    template = (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}assistant\n" + block + written + "{% else %}user "
        "{{ m['content'] }}\n{% endif %}{% endfor %}" + asking
    )
    made, row = make(template), {"question": "In which country is Kyoto?", "answer": "Japan"}
    found = encode(example(row, tmp_path), made)
    decode = getattr(made, "fast", made).decode
    assert decode([label for label in found.labels if label != IGNORED]) == "Japan" + end
    assert decode([label for label in found.marked("answer") if label != IGNORED]) == "Japan"
    assert found[:2] == encode_answer(made, row["question"], row["answer"])[:2]
    prompt = prompt_of(made, row["question"], OPEN_UNLEARNING)
    assert prompt.endswith("Kyoto?\nassistant\n" + block)  # asked as it is scored and trained
    assert decode(found.input_ids[: found.start]) == prompt
    assert found.answer == found.input_ids[found.start : found.start + 1] + found.input_ids[-1:]
    short = encode(example(row, tmp_path), made, end_token=False)
    assert (decode(short.answer), decode(short.input_ids)) == ("Japan", prompt + "Japan")


def test_a_space_before_the_answer_is_not_part_of_the_prompt_for_generation(tmp_path: Path) -> None:
    spaced = tokenizer("{% for m in messages %}{{ 'Q' if m['role'] == 'user' else ' ' + m['content'] }}{% endfor %}")
    assert prompt_of(spaced, "", Template(system=None)) == "Q"


def test_messages_without_a_template_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: 'messages' need a chat template"):
        encode(example({"messages": TALK}, tmp_path), tokenizer(None), max_length=512)


def test_a_template_that_writes_the_date_writes_the_same_every_day(tmp_path: Path) -> None:
    dated = tokenizer("{{ date_string }}{% for m in messages %}|{{ m['content'] }}{% endfor %}")
    found = encode(example({"messages": TALK[2:]}, tmp_path), dated, max_length=512)
    assert dated.decode(found.input_ids).startswith("10 Apr 2025|")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('no system role') }}", "refuses these messages: no system role"),
        ("{{ messages[0].nothing.at_all }}", "refuses these messages"),
        ("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}", "rewrites what the assistant says"),
        ("{{ messages[0]['content'] }}", "rewrites what the assistant says"),
    ],
)
def test_a_template_that_does_not_fit_is_an_error_with_the_line(tmp_path: Path, template: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        encode(example({"messages": TALK[2:]}, tmp_path), tokenizer(template), max_length=512)
    assert "one.jsonl line 1: " in str(caught.value)


def test_cutting_off_never_drops_all_the_content(make: Any, tmp_path: Path) -> None:
    made, row = make(None), {"question": "Kyoto " * 20, "answer": "Japan lies in Japan"}
    whole = encode(example(row, tmp_path), made, max_length=512)
    first = whole.start
    assert encode(example(row, tmp_path), made, max_length=first + 1) == tuple(part[: first + 1] for part in whole)
    with pytest.raises(DataError, match=f"line 1: the content begins after {first} tokens, but only {first} are kept"):
        encode(example(row, tmp_path), made, max_length=first)


def test_content_of_special_tokens_alone_is_an_error(make: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: the content has no tokens"):
        encode(example({"question": "Kyoto", "answer": "<eos>"}, tmp_path), make(None), max_length=512)


def test_batches_are_padded_sorted_and_always_the_same(tmp_path: Path) -> None:
    made = tokenizer()
    texts = [" ".join(["Kyoto"] * n) for n in (3, 9, 1, 9, 5)]
    examples = read_examples(write_lines(tmp_path / "a.jsonl", ({"text": text} for text in texts)))
    found = batches(made, examples, batch_size=2)
    assert [len(batch["input_ids"]) for batch in found] == [2, 2, 1]
    lengths = [int(row.sum()) for batch in found for row in batch["attention_mask"]]
    assert lengths == sorted(lengths, reverse=True)
    for batch in found:
        padding = batch["attention_mask"] == 0
        assert bool((batch["input_ids"][padding] == made.pad_token_id).all())
        assert bool((batch["labels"][padding] == IGNORED).all())
        counts = batch["labels"] != IGNORED
        assert torch.equal(batch["labels"][counts], batch["input_ids"][counts])
        assert int(counts.sum()) == int(batch["attention_mask"].sum()) - 2 * len(counts)  # BOS and EOS
    again = batches(made, examples, batch_size=2)
    assert all(torch.equal(a[key], b[key]) for a, b in zip(found, again, strict=True) for key in a)


def test_batches_keep_to_their_number_of_tokens(tmp_path: Path) -> None:
    rows = [{"text": "Kyoto"}] * 10 + [{"text": "Japan " * 30}]
    examples = read_examples(write_lines(tmp_path / "a.jsonl", rows))
    sizes = [batch["input_ids"].numel() for batch in batches(tokenizer(), examples, max_tokens=9)]
    assert sizes[0] > 9  # one long example is a batch of its own
    assert all(size <= 9 for size in sizes[1:])
    with pytest.raises(DataError, match="at least 1"):
        batches(tokenizer(), examples, batch_size=0)


def test_any_text_of_json_can_be_encoded(tmp_path: Path) -> None:
    """Every character that JSON can hold, in question and answer, fast and slow: the same tokens count."""
    fast = tokenizer(None)
    for text in ("\t tab", "e\u0301", "👩‍🚀 Kyoto", "\x00", "a\r\nb", json.dumps({"a": 1})):
        row = {"question": text, "answer": text}
        assert encode(example(row, tmp_path), fast) == encode(example(row, tmp_path), SlowTokenizer(fast))
