"""The texts of a run on TOFU: for methods, for evaluation, and for choosing configurations."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mnemotomy.data.tofu import HUB, evaluation_splits, retained_split
from mnemotomy.evaluation.texts import load_tofu, tofu_splits
from mnemotomy.observe.splits import Splits, splits_digest
from mnemotomy.text.records import TextExample

VARIABLE = "MNEMOTOMY_DATA"
VALIDATED = 200
"""The number of retained and of unseen questions for choosing configurations."""


@dataclass(frozen=True)
class Texts:
    """The splits of one request to forget.

    Attributes:
        source: a folder with the splits as JSON Lines, or a hub id.
        forget: ``forget01``, ``forget05`` or ``forget10``.

    Raises:
        DataError: on first use, a split is missing, or ``forget`` is not a forget split.
    """

    source: str | Path
    forget: str = "forget10"

    @cached_property
    def evaluation(self) -> Splits:
        """The test questions by part, as in OpenUnlearning's evaluator."""
        return tofu_splits(self.source, self.forget)

    @cached_property
    def forgotten(self) -> tuple[TextExample, ...]:
        """The forget set for methods."""
        return load_tofu(self.source, self.forget)

    @cached_property
    def retained(self) -> tuple[TextExample, ...]:
        """The retain set for methods."""
        return load_tofu(self.source, retained_split(self.forget))

    @cached_property
    def validation(self) -> Splits:
        """``forget``: the forget set; ``retain``: questions of the retain set that no evaluation asks; ``unseen``:
        questions about authors whom no model has seen. True answers only, neither paraphrased nor false ones."""
        asked = {one.question for one in self.evaluation["retain"]}
        kept = [one for one in self.retained if one.question not in asked]
        return {
            "forget": self.forgotten,
            "retain": _drawn(kept),
            "unseen": _drawn(load_tofu(self.source, evaluation_splits(self.forget)["holdout"])),
        }

    @cached_property
    def digest(self) -> str:
        """A hash of all questions and answers."""
        texts = {f"evaluation {name}": questions for name, questions in self.evaluation.items()}
        texts |= {f"validation {name}": questions for name, questions in self.validation.items()}
        return splits_digest(texts | {"retained": self.retained})


def default_source() -> str:
    """The folder ``tofu`` in ``MNEMOTOMY_DATA``, or the hub id without it."""
    folder = Path(os.environ.get(VARIABLE, "")) / "tofu"
    return str(folder) if VARIABLE in os.environ and folder.is_dir() else HUB


def _drawn(questions: Sequence[TextExample]) -> tuple[TextExample, ...]:
    """At most ``VALIDATED`` random ones, in their order."""
    places = sorted(random.Random("validation").sample(range(len(questions)), min(VALIDATED, len(questions))))
    return tuple(questions[place] for place in places)
