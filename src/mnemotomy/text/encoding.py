"""From a line of text data to tokens: which belong to its content, and which are to be predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.text.records import TextExample, Turn
from mnemotomy.text.template import OPEN_UNLEARNING, Template, has_chat_template, prompt_of
from mnemotomy.text.tokenizing import common_length, encode_prompt, tokenized

IGNORED = -100  # transformers' label of positions that do not count

MAX_LENGTH = 512
"""The most tokens of an example; the rest is cut off, as in OpenUnlearning."""

Positions = Literal["answer", "predicting", "all"]
"""Which tokens enter the moments: ``answer``, the content (the answer, a plain text, the assistant's turns);
``predicting``, every token whose next one is to be predicted (from the prompt's last to the one before the end token
that follows an answer); ``all``, every token, prompt and end token included."""


class Encoded(NamedTuple):
    """One example as the model reads it.

    Attributes:
        input_ids: its tokens.
        labels: the token where it is to be predicted, else −100. To be predicted are the content and, after an answer,
            the end token with any text of the template there.
        content: whether each token belongs to the content; None if exactly those with a label do.
    """

    input_ids: list[int]
    labels: list[int]
    content: Sequence[bool] | None = None

    @property
    def start(self) -> int:
        """The position of the first token to be predicted."""
        return next(position for position, label in enumerate(self.labels) if label != IGNORED)

    @property
    def answer(self) -> list[int]:
        """The tokens from ``start`` on."""
        return self.input_ids[self.start :]

    def marked(self, positions: Positions) -> list[int]:
        """Labels for ``mnemotomy.collect``: −100 where a token does not enter the moments."""
        if positions == "all":
            return self.input_ids
        if positions == "predicting":
            return [*self.labels[1:], IGNORED]
        if self.content is None:
            return self.labels
        return [label if held else IGNORED for label, held in zip(self.input_ids, self.content, strict=True)]


class _Rendered(NamedTuple):
    """The text that the model reads, the spans of its content, and whether the tokenizer adds BOS and EOS."""

    text: str
    spans: tuple[tuple[int, int], ...]
    add_special_tokens: bool


def check_positions(positions: str) -> None:
    """Refuse unknown positions.

    Raises:
        ConfigurationError: they are not one of ``Positions``.
    """
    if positions not in get_args(Positions):
        raise ConfigurationError(f"positions must be one of {', '.join(get_args(Positions))}, not {positions!r}")


def encode(
    example: TextExample, tokenizer: Any, template: Template = OPEN_UNLEARNING, *, max_length: int = MAX_LENGTH
) -> Encoded:
    """The tokens of one line, for moments, for training and for a loss alike.

    A question with its answer is written as in the evaluation (``encode_answer``), a conversation by the tokenizer's
    chat template with no other system message than its own, a plain text as it is. A token that straddles the border
    between prompt and content belongs to the content. Special tokens and the template's text do not, except the unknown
    token, which stands for a word.

    Args:
        example: a line of a file of texts.
        tokenizer: of transformers.
        template: what stands around questions and answers.
        max_length: in tokens; the rest is cut off.

    Raises:
        DataError: the content has no tokens, or none is left after cutting, or the chat template refuses the line.
    """
    try:
        rendered = _render(example, tokenizer, template)
        ids, content = _located(rendered, tokenizer)
        if example.form == "question":
            ids, labels, _ = encode_answer(tokenizer, example.question, example.answer, template)
            content += [False] * (len(ids) - len(content))  # the end token, if the template writes none
        else:
            labels = [token if held else IGNORED for token, held in zip(ids, content, strict=True)]
    except DataError as error:
        raise DataError(f"{example.where}: {error}" if example.where else str(error)) from error
    first = next((position for position, held in enumerate(content) if held), None)
    if first is None:
        raise DataError(f"{example.where}: the content has no tokens, or only special ones")
    if first >= max_length:
        raise DataError(
            f"{example.where}: the content begins after {first} tokens, but only {max_length} are kept; raise the "
            "maximum length or shorten the prompt"
        )
    return Encoded(ids[:max_length], labels[:max_length], content[:max_length])


def encode_answer(tokenizer: Any, question: str, answer: str, template: Template = OPEN_UNLEARNING) -> Encoded:
    """The tokens of a question with its answer, as OpenUnlearning's evaluator labels them.

    Prompt and answer are tokenised together. Everything after the prompt's own tokens is the answer, including any text
    of the template after it; an end token is added if it is missing. A token that straddles the border belongs to the
    answer, as everywhere in Mnemotomy; OpenUnlearning drops it (this happens only without a chat template).

    Raises:
        DataError: the answer has no tokens, no token of the prompt is left to predict it from, the tokenizer has no end
            token, or the chat template refuses the messages.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise DataError("the tokenizer has no end token; set its eos_token")
    if not answer.strip() or not tokenized(tokenizer, answer.strip(), add_special_tokens=False)["input_ids"]:
        raise DataError(f"the answer {answer!r} to {question!r} has no tokens; give another, or leave it out")
    chat = template.uses_chat(tokenizer)
    prompt = prompt_of(tokenizer, question, template)
    turns = (*template.asked(question), Turn("assistant", answer))
    text = template.fill(tokenizer, turns) if chat else template.answered(question, answer)
    before, ids = (encode_prompt(tokenizer, one, special_tokens=not chat) for one in (prompt, text))
    if ids[-1] != end:
        ids.append(end)
    start = common_length(before, ids)
    if start == 0:
        raise DataError(f"no token precedes the answer to {question!r}; begin the template with a separate token")
    if len(ids) - start < 2:
        lost = "the chat template drops" if chat else "the content has no tokens, or only special ones:"
        raise DataError(f"{lost} the answer {answer!r} to {question!r}")
    return Encoded(ids, [IGNORED] * start + ids[start:])


def _render(example: TextExample, tokenizer: Any, template: Template) -> _Rendered:
    content = example.turns[-1].content
    if example.form == "text":
        return _Rendered(content, ((0, len(content)),), True)
    if example.form == "question" and not template.uses_chat(tokenizer):
        text = template.answered(example.question, content)
        return _Rendered(text, ((len(text) - len(content), len(text)),), True)
    if not has_chat_template(tokenizer):
        raise DataError(
            "'messages' need a chat template, and this tokenizer has none; give 'question' and 'answer', or 'text'"
        )
    if example.form == "question":
        turns = (*template.asked(example.question), Turn("assistant", example.answer))
        return _render_chat(turns, tokenizer, template)
    return _render_chat(example.turns, tokenizer, template)


def _render_chat(turns: Sequence[Turn], tokenizer: Any, template: Template) -> _Rendered:
    """The conversation in the chat template, and the spans of the assistant's words.

    Searching for the words could find them in a header or another turn. So the template is filled a second time with
    marks in their place; everything between the marks is the template's.
    """
    contents = [turn.content for turn in turns if turn.role == "assistant"]
    marks = [f"<mnemotomy-content-{i}>" for i in range(len(contents))]
    unused = iter(marks)
    marked = tuple(Turn(turn.role, next(unused)) if turn.role == "assistant" else turn for turn in turns)
    text, rest = (template.fill(tokenizer, some) for some in (turns, marked))
    pieces = []
    for mark in marks:
        piece, _, rest = rest.partition(mark)
        pieces.append(piece)
    spans, position = [], len(pieces[0])
    for content, (before, after) in zip(contents, pairwise([*pieces, rest]), strict=True):
        variants = (content, content.strip(), content.rstrip(), content.lstrip())
        start = position - len(before)
        written = next((one for one in variants if text.startswith(before + one + after, start)), None)
        if written is None:
            raise DataError(
                "the chat template rewrites what the assistant says, so its tokens cannot be told from the "
                "template's; give the line as 'text'"
            )
        spans.append((position, position + len(written)))
        position += len(written) + len(after)
    return _Rendered(text, tuple(spans), False)  # templates write BOS and EOS themselves


def _located(rendered: _Rendered, tokenizer: Any) -> tuple[list[int], list[bool]]:
    """The tokens, and which of them belong to the content: they share a character with it and are not special."""
    fast = getattr(tokenizer, "is_fast", False)
    options = {"add_special_tokens": rendered.add_special_tokens}
    encoding = tokenized(tokenizer, rendered.text, **options, **({"return_offsets_mapping": True} if fast else {}))
    ids = list(encoding["input_ids"])
    if fast:
        shares = [
            any(start < last and first < end for first, last in rendered.spans)
            for start, end in encoding["offset_mapping"]  # of length 0 for tokens that the tokenizer adds
        ]
    else:
        shares = _by_prefixes(ids, rendered.spans, lambda end: tokenized(tokenizer, rendered.text[:end], **options))
    unknown = getattr(tokenizer, "unk_token_id", None)
    ends = [getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad")]
    special = set(tokenizer.all_special_ids) - ({unknown} - set(ends))
    return ids, [share and token not in special for token, share in zip(ids, shares, strict=True)]


def _by_prefixes(ids: list[int], spans: Sequence[tuple[int, int]], upto: Callable[[int], Any]) -> list[bool]:
    """Which tokens share a character with a span, for tokenizers without offsets: by each text up to a border."""
    shares = [False] * len(ids)
    for start, end in spans:
        first = common_length(ids, upto(start)["input_ids"])
        before_end = upto(end)["input_ids"]
        last = common_length(ids, before_end)
        last += last < len(before_end)  # a token straddles the end
        shares[first:last] = [True] * (last - first)
    return shares
