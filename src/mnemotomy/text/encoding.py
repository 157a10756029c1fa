"""From a line of text data to tokens: which belong to its content, and which are to be predicted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.text.records import TextExample
from mnemotomy.text.spans import token_positions
from mnemotomy.text.template import OPEN_UNLEARNING, Template, around_answers, has_chat_template, prompt_of
from mnemotomy.text.tokenizing import common_length, encode_prompt, special_tokens, tokenized

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
            the end token; never text that the template writes by itself, before the answer or between it and the end.
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
        """The tokens to be predicted."""
        return [label for label in self.labels if label != IGNORED]

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
    example: TextExample,
    tokenizer: Any,
    template: Template = OPEN_UNLEARNING,
    *,
    max_length: int = MAX_LENGTH,
    end_token: bool = True,
) -> Encoded:
    """The tokens of one line, for moments, for training, for a loss and for the evaluation alike.

    A question with its answer is written in the template, a conversation in the tokenizer's chat template with no other
    system message than its own, a plain text as it is. A token that straddles the border between prompt and content
    belongs to the content. Special tokens and the template's text do not, except the unknown token, which stands for a
    word. After an answer comes the end token, the template's own if it writes one; what follows it is left out.

    Args:
        example: a line of a file of texts.
        max_length: in tokens; the rest is cut off.
        end_token: whether an end token follows an answer.

    Raises:
        DataError: the content has no tokens, or none is left after cutting, no token precedes an answer, the tokenizer
            has no end token, or the chat template refuses, drops or rewrites the line.
    """
    try:
        rendered = _render(example, tokenizer, template)
        ids, content = _located(rendered, tokenizer)
        if not any(content):
            raise DataError("the content has no tokens, or only special ones")
        first, asked = content.index(True), example.form == "question"
        if asked and first == 0:
            raise DataError("no token precedes the answer; begin the template with a separate token")
        if first >= max_length:
            raise DataError(
                f"the content begins after {first} tokens, but only {max_length} are kept; raise the maximum length or "
                "shorten the prompt"
            )
        labels = [token if held else IGNORED for token, held in zip(ids, content, strict=True)]
        if asked:
            ids, labels = _ended(ids, content, tokenizer, end_token)
            content = [*content, False][: len(ids)]
    except DataError as error:
        raise DataError(f"{example.where}: {error}" if example.where else str(error)) from error
    return Encoded(ids[:max_length], labels[:max_length], content[:max_length])


def subject_end(
    example: TextExample, tokenizer: Any, template: Template = OPEN_UNLEARNING, *, max_length: int = MAX_LENGTH
) -> int:
    """The position of the last token of the example's subject, among the tokens that ``encode`` gives.

    Raises:
        DataError: the line or the template does not say the subject, it is cut off, or the tokenizer has no offsets.
    """
    named = example.naming.strip()
    try:
        text, _, special = _render(example, tokenizer, template)
        end = token_positions(tokenizer, text, str(example.subject), within=named, special_tokens=special)[-1]
        if end >= max_length:
            raise DataError(f"the subject {example.subject!r} is at token {end}, but only {max_length} are kept")
    except DataError as error:
        raise DataError(f"{example.where}: {error}" if example.where else str(error)) from error
    return end


def encode_answer(tokenizer: Any, question: str, answer: str, template: Template = OPEN_UNLEARNING) -> Encoded:
    """The tokens of a question with its whole answer and the end token, as the evaluation reads them.

    Raises:
        DataError: as ``encode``.
    """
    if not answer.strip():
        raise DataError(f"the answer {answer!r} to {question!r} has no tokens; give another, or leave it out")
    example = TextExample.of_question(question, answer, f"the answer {answer!r} to {question!r}")
    return encode(example, tokenizer, template, max_length=sys.maxsize)


def encode_question(tokenizer: Any, question: str, template: Template = OPEN_UNLEARNING, start: str = "") -> list[int]:
    """The tokens of a question up to where the model continues; ``start`` is the beginning of the answer.

    Raises:
        DataError: the chat template refuses the question, or a word cannot be read.
    """
    chat = template.uses_chat(tokenizer)
    prompt = template.answered(question, start) if start and not chat else prompt_of(tokenizer, question, template)
    return encode_prompt(tokenizer, prompt + start if chat else prompt, special_tokens=not chat)


def _ended(ids: list[int], content: Sequence[bool], tokenizer: Any, end_token: bool) -> tuple[list[int], list[int]]:
    """A question's tokens and labels up to its end token, or, without one, to the answer's last."""
    first, last = content.index(True), len(content) - content[::-1].index(True)
    labels = [IGNORED] * first + ids[first:last]
    if not end_token:
        return ids[:last], labels
    ends = special_tokens(tokenizer)
    stop = next((place for place in range(last, len(ids)) if ids[place] in ends), len(ids))
    end = ids[stop] if stop < len(ids) else tokenizer.eos_token_id
    if end is None:
        raise DataError("the tokenizer has no end token; set its eos_token")
    return [*ids[:stop], end], [*labels, *[IGNORED] * (stop - last), end]


def _render(example: TextExample, tokenizer: Any, template: Template) -> _Rendered:
    """The text, and the spans of the assistant's words.

    Searching a chat template's text for the words could find them in a header or another turn, so they are looked for
    between the pieces that the template writes.
    """
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
    turns = example.turns
    if example.form == "question":
        turns = (*template.asked(example.question), turns[-1])
    text, pieces = template.fill(tokenizer, turns), around_answers(tokenizer, turns, template)
    spans, position = [], len(pieces[0])
    contents = [turn.content for turn in turns if turn.role == "assistant"]
    for content, (before, after) in zip(contents, pairwise(pieces), strict=True):
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
    special = special_tokens(tokenizer)
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
