"""The observations of several splits, each kept in a file named by everything that it depends on."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from mnemotomy.core.cells import Cells
from mnemotomy.core.keys import key
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import resolved
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.version import __version__
from mnemotomy.observe.questions import (
    Asking,
    Observed,
    QuestionObservations,
    load_questions,
    observe_questions,
    save_questions,
)
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import writes_of_its_own

HOLDOUT = "holdout"
"""The split for membership inference alone; the model writes no answers to it."""

Splits = Mapping[str, Sequence[TextExample]]


def observe_splits(
    observed: Observed, splits: Splits, asking: Asking | None = None, folder: Path | None = None
) -> dict[str, QuestionObservations]:
    """Observe every split with teacher forcing, and let the model answer; observations in a file are reused.

    Args:
        splits: by name; the model writes no answers to ``holdout``.
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
            run = functools.partial(observe_questions, observed, questions, how)
            if cells is None:
                found[name] = run()
            else:
                texts, versions = [one.row() for one in questions], observing_versions()
                found[name] = cells.kept(key(observed.fingerprint, texts, *asked(observed, how), versions), run)
            advance(len(questions), name)
    return found


def splits_digest(splits: Splits) -> str:
    """A hash of the texts of all splits."""
    return key({name: [one.row() for one in questions] for name, questions in splits.items()})


def observing_versions() -> dict[str, str]:
    """The versions that the numbers depend on."""
    import transformers

    return {"mnemotomy": __version__, "torch": torch.__version__, "transformers": transformers.__version__}


def asked(observed: Observed, asking: Asking) -> list[Any]:
    """What observations depend on besides the model and its texts."""
    rounded = resolved(asking.precision, device_of(observed.model))
    own = writes_of_its_own(observed.tokenizer, asking.template)  # once scored as part of the answer
    return [asdict(asking.template), asking.max_new_tokens, *([] if rounded == "no" else [rounded]), *own]
