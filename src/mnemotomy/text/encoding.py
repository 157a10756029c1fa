"""From a line of text data to tokens: which of them hold its content, and which are to be predicted."""

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
"""Tokens of an example; what is beyond is cut off, as OpenUnlearning does."""

Positions = Literal["answer", "predicting", "all"]
"""Which tokens enter the moments: ``answer`` for those that hold content (the answer, a plain text, what the assistant
says), ``predicting`` for those whose next token is to be predicted (from the last of the prompt on, and up to the one
before the end token that follows an answer), ``all`` for every token, the prompt's and the end token too."""


class Encoded(NamedTuple):
    """One example as the model reads it.

    Attributes:
        input_ids: its tokens.
        labels: the same where a token is to be predicted, else −100: the content's, and behind an answer the end
            token with what the template writes there.
        content: whether each token holds some of the content; None where all that have a label do.
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
        """The tokens from there on."""
        return self.input_ids[self.start :]

    def marked(self, positions: Positions) -> list[int]:
        """Labels in whose place something stands wherever a token's input enters the moments."""
        if positions == "all":
            return self.input_ids
        if positions == "predicting":
            return [*self.labels[1:], IGNORED]
        if self.content is None:
            return self.labels
        return [label if held else IGNORED for label, held in zip(self.input_ids, self.content, strict=True)]


class _Rendered(NamedTuple):
    """The text that the model reads, where its content stands, and whether the tokenizer is to add BOS and EOS."""

    text: str
    spans: tuple[tuple[int, int], ...]
    add_special_tokens: bool


def check_positions(positions: str) -> None:
    """Refuse what is none of ``Positions``.

    Raises:
        ConfigurationError: it is none.
    """
    if positions not in get_args(Positions):
        raise ConfigurationError(f"positions are one of {', '.join(get_args(Positions))}, not {positions!r}")


def encode(
    example: TextExample, tokenizer: Any, template: Template = OPEN_UNLEARNING, *, max_length: int = MAX_LENGTH
) -> Encoded:
    """The tokens of one line, however it is used: for moments, for training, for a loss.

    A question with its answer is written as the evaluation writes it (``encode_answer``), a conversation by the
    tokenizer's chat template without a system message but its own, a plain text as it is. A token that straddles the
    border between prompt and content holds content; special tokens and the template's text never do, but for the
    unknown token, which stands for a word.

    Args:
        example: a line of a file of texts.
        tokenizer: of transformers.
        template: what stands around questions and answers.
        max_length: in tokens; what is beyond is cut off.

    Raises:
        DataError: the content gives no token, or none is left after cutting, or the template does not fit.
    """
    try:
        rendered = _render(example, tokenizer, template)
        ids, content = _located(rendered, tokenizer)
        if example.form == "question":
            ids, labels, _ = encode_answer(tokenizer, example.question, example.answer, template)
            content += [False] * (len(ids) - len(content))  # the end token, where the template writes none
        else:
            labels = [token if held else IGNORED for token, held in zip(ids, content, strict=True)]
    except DataError as error:
        raise DataError(f"{example.where}: {error}" if example.where else str(error)) from error
    first = next((position for position, held in enumerate(content) if held), None)
    if first is None:
        raise DataError(f"{example.where}: the content gives no token, or only special ones")
    if first >= max_length:
        raise DataError(
            f"{example.where}: the content begins after {first} tokens, and only {max_length} are kept; raise the "
            "maximum length or shorten the prompt"
        )
    return Encoded(ids[:max_length], labels[:max_length], content[:max_length])


def encode_answer(tokenizer: Any, question: str, answer: str, template: Template = OPEN_UNLEARNING) -> Encoded:
    """The tokens of a question with its answer, as OpenUnlearning's evaluator labels them.

    The whole is tokenised at once, and what follows the prompt's own tokens is the answer, with whatever the template
    writes behind it; an end token is added where the last is none. A token that straddles the border belongs to the
    answer, as everywhere in Mnemotomy; OpenUnlearning drops it, which happens only without a chat template.

    Raises:
        DataError: the answer gives no token, the prompt leaves nothing to predict it from, the tokenizer has no end
            token, or the chat template refuses the messages.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise DataError("the tokenizer has no end token; set its eos_token")
    if not answer.strip() or not tokenized(tokenizer, answer.strip(), add_special_tokens=False)["input_ids"]:
        raise DataError(f"the answer {answer!r} to {question!r} gives no token; give one that does, or leave it out")
    chat = has_chat_template(tokenizer)
    prompt = prompt_of(tokenizer, question, template)
    turns = (*template.asked(question), Turn("assistant", answer))
    text = template.fill(tokenizer, turns) if chat else prompt + answer
    before, ids = (encode_prompt(tokenizer, one, special_tokens=not chat) for one in (prompt, text))
    if ids[-1] != end:
        ids.append(end)
    start = common_length(before, ids)
    if start == 0:
        raise DataError(f"nothing stands before the answer to {question!r}; begin the template with a token of its own")
    if len(ids) - start < 2:
        lost = "the chat template drops" if chat else "the content gives no token, or only special ones:"
        raise DataError(f"{lost} the answer {answer!r} to {question!r}")
    return Encoded(ids, [IGNORED] * start + ids[start:])


def _render(example: TextExample, tokenizer: Any, template: Template) -> _Rendered:
    chat = has_chat_template(tokenizer)
    if example.form == "text" or (example.form == "question" and not chat):
        prompt = "" if example.form == "text" else template.tagged(example.question)
        text = prompt + example.turns[-1].content
        return _Rendered(text, ((len(prompt), len(text)),), True)
    if not chat:
        raise DataError(
            "'messages' need a chat template, which this tokenizer lacks; give 'question' and 'answer', or 'text'"
        )
    if example.form == "question":
        turns = (*template.asked(example.question), Turn("assistant", example.answer))
        return _render_chat(turns, tokenizer, template)
    return _render_chat(example.turns, tokenizer, template)


def _render_chat(turns: Sequence[Turn], tokenizer: Any, template: Template) -> _Rendered:
    """The conversation through the chat template, and where the assistant's words stand in it.

    A search for the words could find them in a header or in another turn. So the template is filled a second time
    with marks in their place: what lies between the marks is the template's.
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
                "the chat template rewrites what the assistant says, so that its tokens cannot be told from the "
                "template's; give the line as 'text'"
            )
        spans.append((position, position + len(written)))
        position += len(written) + len(after)
    return _Rendered(text, tuple(spans), False)  # templates write BOS and EOS themselves


def _located(rendered: _Rendered, tokenizer: Any) -> tuple[list[int], list[bool]]:
    """The tokens, and which of them hold content: those that share a character with it and are not special."""
    fast = getattr(tokenizer, "is_fast", False)
    options = {"add_special_tokens": rendered.add_special_tokens}
    encoding = tokenized(tokenizer, rendered.text, **options, **({"return_offsets_mapping": True} if fast else {}))
    ids = list(encoding["input_ids"])
    if fast:
        shares = [
            any(start < last and first < end for first, last in rendered.spans)
            for start, end in encoding["offset_mapping"]  # of length 0 for the tokens that the tokenizer adds
        ]
    else:
        shares = _by_prefixes(ids, rendered.spans, lambda end: tokenized(tokenizer, rendered.text[:end], **options))
    unknown = getattr(tokenizer, "unk_token_id", None)
    ends = [getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad")]
    special = set(tokenizer.all_special_ids) - ({unknown} - set(ends))
    return ids, [share and token not in special for token, share in zip(ids, shares, strict=True)]


def _by_prefixes(ids: list[int], spans: Sequence[tuple[int, int]], upto: Callable[[int], Any]) -> list[bool]:
    """Which tokens share a character with a span, for tokenizers without offsets: by the tokens up to each border."""
    shares = [False] * len(ids)
    for start, end in spans:
        first = common_length(ids, upto(start)["input_ids"])
        before_end = upto(end)["input_ids"]
        last = common_length(ids, before_end)
        last += last < len(before_end)  # a token straddles the end
        shares[first:last] = [True] * (last - first)
    return shares
