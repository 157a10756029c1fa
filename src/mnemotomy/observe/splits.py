"""Several splits observed for one model, each kept in a file that is named by all that it depends on."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnemotomy.core.cells import Cells
from mnemotomy.core.fingerprints import fingerprint, tokenizer_digest
from mnemotomy.core.keys import key
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import Precision, autocast, check_precision, resolved
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.version import __version__
from mnemotomy.observe.generation import end_tokens
from mnemotomy.observe.questions import QuestionObservations, observe_questions
from mnemotomy.observe.questions_file import load_questions, save_questions
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import OPEN_UNLEARNING, Template

HOLDOUT = "holdout"
"""The split that only membership inference reads; the model writes no answers to it."""

_INCIDENTAL = ("_name_or_path", "transformers_version", "architectures", "dtype", "_commit_hash")
"""Entries of a model's configuration that depend on where it lies and who saved it."""

Splits = Mapping[str, Sequence[TextExample]]


@dataclass(frozen=True)
class Asking:
    """How models are asked.

    Attributes:
        template: what stands around questions and answers.
        max_new_tokens: per answer that a model writes; 0 for none. OpenUnlearning's default.
        batch_size: the most rows in a batch; no number depends on it.
        precision: ``bf16`` autocast or ``no``; ``auto`` takes bf16 where the device has instructions for it.

    Raises:
        ConfigurationError: there is no such precision.
    """

    template: Template = OPEN_UNLEARNING
    max_new_tokens: int = 200
    batch_size: int = 32
    precision: Precision = "no"

    def __post_init__(self) -> None:
        check_precision(self.precision)


@dataclass(frozen=True)
class Observed:
    """A model that is asked.

    Attributes:
        model: a causal language model of transformers.
        tokenizer: the model's.
    """

    model: nn.Module
    tokenizer: Any

    @cached_property
    def fingerprint(self) -> str:
        """Of weights, configuration and tokenizer: models that share it answer alike."""
        parts = [fingerprint(self.model), _configuration(self.model, self.tokenizer), tokenizer_digest(self.tokenizer)]
        return key(*parts)


def observe_splits(
    observed: Observed, splits: Splits, asking: Asking | None = None, folder: Path | None = None
) -> dict[str, QuestionObservations]:
    """One teacher-forced pass of every split, and one in which the model answers; none where a file has them.

    Args:
        observed: the model.
        splits: by name; to ``holdout`` no answers are written.
        asking: how the model is asked.
        folder: of the files; without one nothing is kept.

    Raises:
        DataError, ModelError, NonFiniteError: as ``observe_questions``.
        ArtifactError: a file of the folder is damaged.
    """
    asking = asking or Asking()
    found: dict[str, QuestionObservations] = {}
    cells = None if folder is None else Cells(folder, ".safetensors", load_questions, save_questions)
    with progress_bar("observing", sum(map(len, splits.values()))) as advance:
        for name, questions in splits.items():
            how = replace(asking, max_new_tokens=0 if name == HOLDOUT else asking.max_new_tokens)
            run = functools.partial(_observe, observed, questions, how)
            found[name] = run() if cells is None else cells.kept(_key(observed, questions, how), run)
            advance(len(questions), name)
    return found


def _observe(observed: Observed, questions: Sequence[TextExample], asking: Asking) -> QuestionObservations:
    with autocast(device_of(observed.model), asking.precision):
        return observe_questions(
            observed.model,
            observed.tokenizer,
            questions,
            template=asking.template,
            batch_size=asking.batch_size,
            max_new_tokens=asking.max_new_tokens,
        )


def splits_digest(splits: Splits) -> str:
    """A hash of the texts of all splits."""
    texts = {name: _texts(questions) for name, questions in splits.items()}
    return key(texts)


def observing_versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    import transformers

    return {"mnemotomy": __version__, "torch": torch.__version__, "transformers": transformers.__version__}


def _configuration(model: nn.Module, tokenizer: Any) -> Any:
    """What a model computes with beside its weights, and where it ends an answer."""
    config = getattr(model, "config", None)
    settings = {} if config is None else json.loads(config.to_json_string(use_diff=False))
    return [{key: value for key, value in settings.items() if key not in _INCIDENTAL}, end_tokens(model, tokenizer)]


def asked(observed: Observed, asking: Asking) -> list[Any]:
    """What observations depend on beside the model and its texts."""
    rounded = resolved(asking.precision, device_of(observed.model))
    return [asdict(asking.template), asking.max_new_tokens, *([] if rounded == "no" else [rounded])]


def _key(observed: Observed, questions: Sequence[TextExample], asking: Asking) -> str:
    return key(observed.fingerprint, _texts(questions), *asked(observed, asking), observing_versions())


def _texts(questions: Sequence[TextExample]) -> list[dict[str, Any]]:
    return [one.row() for one in questions]
