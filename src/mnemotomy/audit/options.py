"""How an audit runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnemotomy.audit.attack import Attack, attacks
from mnemotomy.audit.base import PARTS
from mnemotomy.audit.damage import Tasks
from mnemotomy.audit.fluency import Fluency
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.precision import Precision
from mnemotomy.methods.base import Models
from mnemotomy.text.template import OPEN_UNLEARNING, Template


@dataclass(frozen=True)
class AuditOptions:
    """How an audit runs.

    Attributes:
        parts: of the audit, and names of single attacks.
        tasks: of lm-eval, for the damage.
        template: what stands around questions.
        seed: for everything drawn at random.
        batch_size: the most rows in a batch.
        precision: of the texts that models write, and of copies that are trained or changed: ``bf16``, ``no``, or
            ``auto``, bf16 where the device is fast at it.
        folder: where readings are kept, so that a run resumes and parts can be added.
        progress: whether to show a bar.
        about: what the report says of the request: names, files, dates.
        fluency: what judges whether answers are language, instead of the model before: a folder or hub id of a causal
            language model or of a classifier of gibberish.
        say: is told how long the audit of a language model takes, about, before it starts; this takes a few answers.
    """

    parts: Sequence[str] = PARTS
    tasks: Sequence[str] = ()
    template: Template = OPEN_UNLEARNING
    seed: int = 0
    batch_size: int = 32
    precision: Precision = "auto"
    folder: str | Path | None = None
    progress: bool = True
    about: Mapping[str, Any] = field(default_factory=dict)
    fluency: str | None = None
    say: Callable[[str], object] | None = None

    def chosen(self, models: Models = "language models") -> list[Attack]:
        """The attacks on a kind of model.

        Raises:
            ConfigurationError: a part or a task is unknown, or tasks are given without lm-eval.
            ModelError: the judge of fluency cannot be loaded, or cannot judge.
        """
        registry = attacks(models)
        for part in self.parts:
            if part not in PARTS and part not in registry:
                raise ConfigurationError(f"there is no part {part!r}; choose among {', '.join([*PARTS, *registry])}")
        named = [
            kind() if kind is not Fluency or self.fluency is None else Fluency.named(self.fluency)
            for name, kind in registry.items()
            if (name in self.parts or (kind.part in self.parts and kind.default)) and kind is not Tasks
        ]
        if not self.tasks and "tasks" not in self.parts:
            return named
        return [*named, Tasks.named(self.tasks)]

    def left_out(self, models: Models = "language models") -> int:
        """How many attacks on what was forgotten are not chosen, of the parts that are."""
        usual = {name: kind for name, kind in attacks(models).items() if kind.default and kind.part != "damage"}
        chosen = {name for name, kind in usual.items() if name in self.parts or kind.part in self.parts}
        parts = {usual[name].part for name in chosen}
        return sum(kind.part in parts and name not in chosen for name, kind in usual.items())
