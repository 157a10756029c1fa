"""One forward pass of questions with answers: what a model thinks of each token of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mnemotomy.core.errors import DataError
from mnemotomy.core.modules import check_window, observing
from mnemotomy.core.version import __version__
from mnemotomy.observe.answer_logits import Shown, read_one_by_one, read_sharing_prompts, shares_prompts
from mnemotomy.observe.generation import continue_tokens
from mnemotomy.text.encoding import Encoded, encode_answer, encode_question
from mnemotomy.text.template import OPEN_UNLEARNING, Template, prompt_of


@dataclass(frozen=True)
class AnswerObservations:
    """The observations of each token of n answers, one answer after another, on the CPU.

    The last token of an answer is the end token.

    Attributes:
        tokens: the answers' tokens.
        log_probability: of each token, given all before it, in nats.
        hit: whether the token is the likeliest.
        mean: of the log-probabilities over the vocabulary, weighted by probability: Min-K++'s μ.
        deviation: their standard deviation: Min-K++'s σ.
        lengths: tokens per answer, the end token included.
        texts: the answers decoded from their tokens, without special tokens.
        origin: versions, dtype and template.
    """

    tokens: Int[Tensor, " tokens"]
    log_probability: Float[Tensor, " tokens"]
    hit: Bool[Tensor, " tokens"]
    mean: Float[Tensor, " tokens"]
    deviation: Float[Tensor, " tokens"]
    lengths: Int[Tensor, " n"]
    texts: tuple[str, ...]
    origin: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, encoded: Sequence[Encoded], shown: Shown, tokenizer: Any, origin: Mapping[str, str] | None = None
    ) -> AnswerObservations:
        """From what was shown of every token of the answers, one after the other."""
        log_probability, hit, mean, deviation = shown
        return cls(
            tokens=torch.tensor([token for one in encoded for token in one.answer]),
            log_probability=log_probability,
            hit=hit.bool(),
            mean=mean,
            deviation=deviation,
            lengths=torch.tensor([len(one.answer) for one in encoded]),
            texts=tuple(tokenizer.decode(one.answer, skip_special_tokens=True) for one in encoded),
            origin=origin or {},
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, values: Tensor, *, end: bool) -> list[Tensor]:
        """One of the tensors cut into answers: ``observations.rows(observations.hit, end=False)``.

        Args:
            values: an attribute, or other values with one number per token.
            end: whether to keep the end token's number.
        """
        rows = values.split(self.lengths.tolist())
        return list(rows) if end else [row[:-1] for row in rows]

    def select(self, start: int, stop: int) -> AnswerObservations:
        """The answers from ``start`` up to ``stop``."""
        first, last = int(self.lengths[:start].sum()), int(self.lengths[:stop].sum())
        return AnswerObservations(
            self.tokens[first:last],
            self.log_probability[first:last],
            self.hit[first:last],
            self.mean[first:last],
            self.deviation[first:last],
            self.lengths[start:stop],
            self.texts[start:stop],
            self.origin,
        )


def observe_answers(
    model: nn.Module,
    tokenizer: Any,
    questions: Sequence[str],
    answers: Sequence[str],
    *,
    template: Template = OPEN_UNLEARNING,
    batch_size: int = 32,
) -> AnswerObservations:
    """Forward each question with its answer once, and observe every token of the answer.

    Pairs of similar length share a batch. A question with several answers is forwarded once for all of them if the
    model's cache allows it. The model itself does not change.

    Args:
        tokenizer: the model's; its chat template is used if it has one.

    Raises:
        DataError: there are no questions, an answer is missing or has no tokens, or the chat template
            refuses the messages.
        ModelError: a question with its answer is longer than the model's window.
        NonFiniteError: the model's logits are NaN or infinite.
    """
    if not questions or len(questions) != len(answers):
        raise DataError(f"{len(questions)} questions came with {len(answers)} answers; give one answer for each")
    pairs = zip(questions, answers, strict=True)
    encoded = [encode_answer(tokenizer, question, answer, template) for question, answer in pairs]
    check_window(model, max(len(one.input_ids) for one in encoded))
    with observing(model):
        read = read_sharing_prompts if shares_prompts(model, encoded) else read_one_by_one
        shown = torch.cat(read(model, encoded, batch_size), dim=1)
    return AnswerObservations.of(encoded, shown, tokenizer, _origin(model, tokenizer, template))


def answer_greedily(
    model: nn.Module,
    tokenizer: Any,
    questions: Sequence[str],
    *,
    template: Template = OPEN_UNLEARNING,
    max_new_tokens: int = 200,
    batch_size: int = 32,
) -> tuple[str, ...]:
    """The model's greedy answer to each question, without surrounding space.

    Args:
        max_new_tokens: per answer; OpenUnlearning's default.

    Raises:
        DataError: there are no questions, the chat template refuses them, or the tokenizer has no padding token.
        ModelError: the model cannot generate.
    """
    if not questions:
        raise DataError("there are no questions; give at least one")
    prompts = [encode_question(tokenizer, question, template) for question in questions]
    texts = continue_tokens(model, tokenizer, prompts, max_new_tokens, batch_size=batch_size)
    return tuple(text.strip() for (text,) in texts)


def _origin(model: nn.Module, tokenizer: Any, template: Template) -> dict[str, str]:
    import transformers

    dtype = next((str(parameter.dtype) for parameter in model.parameters()), "none")
    return {
        "mnemotomy": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": dtype.removeprefix("torch."),
        "template": "chat" if template.uses_chat(tokenizer) else "plain" if template.plain else "tags",
        "prompt": prompt_of(tokenizer, "...", template),
    }
