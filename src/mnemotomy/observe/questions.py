"""The observations of a split: every answer in one forward pass, and what the model answers; and their file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mnemotomy.core.artifacts import Artifact
from mnemotomy.core.errors import DataError
from mnemotomy.core.fingerprints import fingerprint, tokenizer_digest
from mnemotomy.core.keys import key
from mnemotomy.core.models import check_language_model
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import Precision, autocast, check_precision
from mnemotomy.observe.answers import AnswerObservations, answer_greedily, observe_answers
from mnemotomy.observe.generation import end_tokens
from mnemotomy.text.records import TextExample, check_alike
from mnemotomy.text.template import OPEN_UNLEARNING, Template

ARTIFACT = Artifact("mnemotomy-answers", "a file of observed answers; make it with save_questions")
_TENSORS = ("tokens", "log_probability", "hit", "mean", "deviation", "lengths")
_PARTS = ("answer", "paraphrased", "perturbed")
_WRITING = 4  # times as many rows when the model writes: a row then has the logits of one token only

_INCIDENTAL = ("_name_or_path", "transformers_version", "architectures", "dtype", "_commit_hash")
"""Entries of a model's configuration that depend on where it is and who saved it."""


@dataclass(frozen=True)
class Asking:
    """How to ask models.

    Attributes:
        template: what stands around questions and answers.
        max_new_tokens: per written answer; 0 for none. The default is OpenUnlearning's.
        batch_size: the most rows in a batch; no result depends on it.
        precision: ``bf16`` autocast or ``no``; ``auto`` takes bf16 if the device is fast at it.

    Raises:
        ConfigurationError: the precision is unknown.
    """

    template: Template = OPEN_UNLEARNING
    max_new_tokens: int = 200
    batch_size: int = 32
    precision: Precision = "no"

    def __post_init__(self) -> None:
        check_precision(self.precision)


@dataclass(frozen=True)
class Observed:
    """A model to ask.

    Attributes:
        model: a causal language model of transformers.
        tokenizer: the model's.
    """

    model: nn.Module
    tokenizer: Any

    @cached_property
    def fingerprint(self) -> str:
        """A hash of weights, configuration and tokenizer: models with the same one answer alike."""
        model, tokenizer = self.model, self.tokenizer
        return key(fingerprint(model), _configuration(model, tokenizer), tokenizer_digest(tokenizer))


@dataclass(frozen=True)
class QuestionObservations:
    """A model's observations on n questions; every metric of the split is a function of them.

    Attributes:
        questions: the texts.
        answer: of the true answers.
        paraphrased: of the paraphrased answers, if there are any.
        perturbed: of the k false answers per question, grouped by question: n · k rows.
        generated: the model's own answers, if it wrote any.
    """

    questions: tuple[TextExample, ...]
    answer: AnswerObservations
    paraphrased: AnswerObservations | None = None
    perturbed: AnswerObservations | None = None
    generated: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.questions)


def observe_questions(
    observed: Observed, questions: Sequence[TextExample], asking: Asking | None = None
) -> QuestionObservations:
    """Forward every answer of every question once, and let the model answer each question.

    Args:
        observed: the model, a causal language model of transformers.
        questions: of one split.
        asking: how to ask the model; when it writes, a batch has four times as many rows.

    Raises:
        DataError: there are no questions, an answer has no tokens, or the chat template refuses the messages.
        ModelError: the model cannot generate, or lacks some of the tokenizer's tokens.
        NonFiniteError: the model's logits are NaN or infinite.
    """
    model, tokenizer, asking = observed.model, observed.tokenizer, asking or Asking()
    if not questions:
        raise DataError("there are no questions to observe")
    check_alike(questions)
    check_language_model(model, tokenizer)
    rows = [(one.question, one.answer) for one in questions]
    rows += [(one.question, one.paraphrased_answer) for one in questions if one.paraphrased_answer is not None]
    paraphrased = len(rows)
    rows += [(one.question, false) for one in questions for false in one.perturbed_answers]
    asked, answers = zip(*rows, strict=True)
    size = len(questions)
    with autocast(device_of(model), asking.precision):
        found = observe_answers(
            model, tokenizer, asked, answers, template=asking.template, batch_size=asking.batch_size
        )
        generated = None
        if asking.max_new_tokens:
            generated = answer_greedily(
                model,
                tokenizer,
                asked[:size],
                max_new_tokens=asking.max_new_tokens,
                batch_size=_WRITING * asking.batch_size,
                template=asking.template,
            )
    return QuestionObservations(
        questions=tuple(questions),
        answer=found.select(0, size),
        paraphrased=found.select(size, paraphrased) if paraphrased > size else None,
        perturbed=found.select(paraphrased, len(rows)) if len(rows) > paraphrased else None,
        generated=generated,
    )


def _configuration(model: nn.Module, tokenizer: Any) -> Any:
    """What a model's answers depend on besides its weights: its configuration and its end tokens."""
    config = getattr(model, "config", None)
    settings = {} if config is None else json.loads(config.to_json_string(use_diff=False))
    return [{key: value for key, value in settings.items() if key not in _INCIDENTAL}, end_tokens(model, tokenizer)]


def save_questions(observations: QuestionObservations, path: str | Path) -> None:
    """Write a split's observations, all or nothing."""
    tensors: dict[str, Tensor] = {}
    parts: dict[str, Any] = {}
    for name in _PARTS:
        part: AnswerObservations | None = getattr(observations, name)
        if part is not None:
            tensors |= {f"{name}.{key}": getattr(part, key).clone() for key in _TENSORS}  # slices share memory
            parts[name] = {"texts": list(part.texts), "origin": dict(part.origin)}
    header = {
        "questions": [{**question.row(), "where": question.where} for question in observations.questions],
        "parts": parts,
        "generated": observations.generated,
    }
    ARTIFACT.write(path, tensors, header)


def load_questions(path: str | Path) -> QuestionObservations:
    """Read a file of ``save_questions``.

    Raises:
        ArtifactError: the file is missing, damaged, of another kind or of a later version.
    """
    with ARTIFACT.reading(path) as (file, header):
        parts = {name: _part(file, name, entry) for name, entry in header["parts"].items()}
        questions = tuple(
            TextExample.of_question(**{**row, "perturbed_answers": tuple(row["perturbed_answers"])})
            for row in header["questions"]
        )
        generated = None if header["generated"] is None else tuple(header["generated"])
        return QuestionObservations(questions, **parts, generated=generated)


def _part(file: Any, name: str, entry: dict[str, Any]) -> AnswerObservations:
    tensors = {key: file.get_tensor(f"{name}.{key}") for key in _TENSORS}
    texts = tuple(entry["texts"])
    sizes = {len(tensors[key]) for key in _TENSORS if key != "lengths"}
    if sizes != {int(tensors["lengths"].sum())} or len(texts) != len(tensors["lengths"]):
        raise ValueError(f"the tokens of {name!r} do not add up")
    return AnswerObservations(**tensors, texts=texts, origin=dict(entry["origin"]))
