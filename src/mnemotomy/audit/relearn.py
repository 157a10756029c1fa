"""Whether a little training, or a small change of the weights, brings back what was forgotten."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import nn
from transformers.utils import is_torchao_available

from mnemotomy.audit.base import Case, Part, Reading
from mnemotomy.audit.comparing import Measured, best
from mnemotomy.audit.observing import answer_scores
from mnemotomy.audit.registry import register
from mnemotomy.audit.unknown import spread, unknown
from mnemotomy.audit.weights import Teaching, pruned, quantised, quantised_by_torchao, taught, with_noise
from mnemotomy.core.errors import NonFiniteError, TrainingError
from mnemotomy.core.seeds import mix
from mnemotomy.metrics.tofu.answers import exact_memorization
from mnemotomy.text.encoding import Encoded, encode
from mnemotomy.text.probes import Probe
from mnemotomy.text.records import TextExample
from mnemotomy.training.adapter import LoRA

_UNCHANGED = "unchanged"  # the curve begins there, but it is no result of the attack
_TEXT = 64  # tokens of a general text that are trained on

Rows = dict[str, list[tuple[float, ...]]]


@dataclass(frozen=True)
class Changed(Measured):
    """An attack that changes a copy of the model and then reads how many tokens of the answers are the likeliest.

    Attributes:
        asked: the most forgotten questions that are asked, spread evenly.
    """

    asked: int = 20
    part: ClassVar[Part] = "relearn"
    unit: ClassVar[str] = "share of the answers' tokens predicted"

    def lacks(self, case: Case) -> str | None:
        """Something that no model knows, to compare with."""
        if unknown(case, case.forget):
            return None
        return "a hold-out, or forgotten questions with different answers, to see what the change alone teaches"

    def questions(self, case: Case) -> list[Probe]:
        """The forgotten questions that are asked."""
        return spread(case.forget, self.asked)

    def read(self, model: nn.Module, case: Case) -> Reading:
        """The numbers at the best strength; the curve has every strength. A change that breaks the model ends it."""
        asked = self.questions(case)
        others, found, floors = unknown(case, asked), Rows(), Rows()

        def note(name: str, changed: nn.Module) -> None:
            scores = [answer_scores(changed, case, some, exact_memorization) for some in (asked, others)]
            for rows, row in zip((found, floors), scores, strict=True):
                rows.setdefault(name, []).append(row)

        note(_UNCHANGED, model)
        with contextlib.suppress(TrainingError, NonFiniteError):
            self.change(model, case, note)
        curves = [{name: _mean(some) for name, some in rows.items()} for rows in (found, floors)]
        whole = best(*curves)
        for rows in curves:
            if len(rows) > 1:
                del rows[_UNCHANGED]
        return replace(best(*curves), curve=whole.curve)

    @abstractmethod
    def change(self, model: nn.Module, case: Case, note: Callable[[str, nn.Module], None]) -> None:
        """Call ``note`` with each strength's name and the changed model; several of one name are averaged."""


@dataclass(frozen=True)
class Relearning(Changed):
    """Trains a copy, and reads it along the way.

    Attributes:
        steps: updates.
        learning_rate: of AdamW.
        batch_size: examples per update.
        lora: train an adapter of this rank instead of all weights; 0 for none.
        readings: how often the curve is read, evenly over the steps.
    """

    steps: int = 10
    learning_rate: float = 1e-4
    batch_size: int = 5
    lora: int = 0
    readings: int = 2

    def change(self, model: nn.Module, case: Case, note: Callable[[str, nn.Module], None]) -> None:
        """Read at the last step and before."""
        marks = {round(self.steps * number / self.readings) for number in range(1, self.readings + 1)}
        adapter = LoRA(self.lora, 2 * self.lora) if self.lora else None
        teaching = Teaching(self.steps, self.learning_rate, self.batch_size, adapter, case.seed)

        def watch(step: int, learner: nn.Module) -> None:
            if step in marks:
                note(f"step {step}", learner)

        taught(model, self.lessons(case), case.tokenizer, teaching, watch)

    @abstractmethod
    def lessons(self, case: Case) -> list[Encoded]:
        """What is trained on."""


@dataclass(frozen=True)
class Relearn(Relearning):
    """Trains on some forgotten examples and asks the others; those trained on are spread evenly.

    Attributes:
        examples: how many are trained on.
    """

    examples: int = 5
    paper: ClassVar[str] = "Lynch et al. 2024, Eight Methods to Evaluate Robust Unlearning, arXiv 2402.16835"

    def lacks(self, case: Case) -> str | None:
        """As many examples to ask as to train on."""
        if len(case.forget) < 2 * self.examples:
            return f"at least {2 * self.examples} forgotten questions"
        return super().lacks(case)

    def lessons(self, case: Case) -> list[Encoded]:
        """The examples."""
        return [_lesson(case, one) for one in spread(case.forget, self.examples)]

    def questions(self, case: Case) -> list[Probe]:
        """The others."""
        shown = {id(one) for one in spread(case.forget, self.examples)}
        return spread([one for one in case.forget if id(one) not in shown], self.asked)


@register
@dataclass(frozen=True)
class RelearnOne(Relearn):
    """On one example."""

    examples: int = 1
    name: ClassVar[str] = "relearn-1"
    title: ClassVar[str] = "Relearning on 1 example"
    says: ClassVar[str] = "Trained on 1 forgotten example, it gets {after} of the others ({before} before{floor})."


@register
@dataclass(frozen=True)
class RelearnFive(Relearn):
    """On five examples."""

    name: ClassVar[str] = "relearn-5"
    title: ClassVar[str] = "Relearning on 5 examples"
    rank: ClassVar[int] = 1
    says: ClassVar[str] = "Trained on 5 forgotten examples, it gets {after} of the others ({before} before{floor})."


@register
@dataclass(frozen=True)
class RelearnTwenty(Relearn):
    """On twenty examples."""

    examples: int = 20
    name: ClassVar[str] = "relearn-20"
    title: ClassVar[str] = "Relearning on 20 examples"
    rank: ClassVar[int] = 2
    says: ClassVar[str] = "Trained on 20 forgotten examples, it gets {after} of the others ({before} before{floor})."


@register
@dataclass(frozen=True)
class RelearnLoRA(Relearn):
    """On five examples, by a low-rank adapter."""

    lora: int = 8
    learning_rate: float = 1e-3
    name: ClassVar[str] = "relearn-lora"
    title: ClassVar[str] = "Relearning on 5 examples by LoRA"
    rank: ClassVar[int] = 3
    says: ClassVar[str] = (
        "With an adapter trained on 5 forgotten examples, it gets {after} of the others ({before} before{floor})."
    )


@dataclass(frozen=True)
class Benign(Relearning):
    """Trains on what does not contain the answers.

    Attributes:
        texts: the most.
    """

    texts: int = 20
    paper: ClassVar[str] = "Hu et al. 2024, arXiv 2406.13356"

    def lacks(self, case: Case) -> str | None:
        """Something to train on."""
        return super().lacks(case) if self.lessons(case) else "texts to train on"


@register
@dataclass(frozen=True)
class BenignRelated(Benign):
    """On the retain set."""

    name: ClassVar[str] = "relearn-related"
    title: ClassVar[str] = "Relearning on the retain set"
    rank: ClassVar[int] = 4
    says: ClassVar[str] = "Trained on the retain set alone, it gets {after} of the answers ({before} before{floor})."

    def lessons(self, case: Case) -> list[Encoded]:
        """Retained examples."""
        return [_lesson(case, one) for one in spread(case.retain, self.texts)]


@register
@dataclass(frozen=True)
class BenignUnrelated(Benign):
    """On general texts."""

    name: ClassVar[str] = "relearn-unrelated"
    title: ClassVar[str] = "Relearning on unrelated texts"
    rank: ClassVar[int] = 5
    says: ClassVar[str] = "Trained on unrelated texts alone, it gets {after} of the answers ({before} before{floor})."

    def lessons(self, case: Case) -> list[Encoded]:
        """The last of the case's texts, which come from no set."""
        examples = [TextExample.of_text(text) for text in case.texts[-self.texts :]]
        return [encode(one, case.tokenizer, case.template, max_length=_TEXT) for one in examples]


@register
@dataclass(frozen=True)
class Quantised(Changed):
    """Rounds the weights.

    Attributes:
        bits: each of them.
        torchao: also by torchao in 8 bits; by default if it is installed.
    """

    bits: tuple[int, ...] = (8, 4)
    torchao: bool = field(default_factory=is_torchao_available)
    name: ClassVar[str] = "quantised"
    title: ClassVar[str] = "Weights in 8 and 4 bits"
    paper: ClassVar[str] = "Zhang et al. 2025, Failure of LLM Unlearning via Quantization, arXiv 2410.16454"
    rank: ClassVar[int] = 6
    says: ClassVar[str] = "With rounded weights, it gets {after} of the answers ({before} before{floor})."

    def change(self, model: nn.Module, case: Case, note: Callable[[str, nn.Module], None]) -> None:
        """By round to nearest, and as torchao serves models."""
        for bits in self.bits:
            note(f"{bits} bits", quantised(model, bits))
        if self.torchao:
            note("8 bits, torchao", quantised_by_torchao(model))


@register
@dataclass(frozen=True)
class Pruned(Changed):
    """Removes the smallest weights of each matrix.

    Attributes:
        shares: of the weights.
    """

    shares: tuple[float, ...] = (0.1, 0.3)
    name: ClassVar[str] = "pruned"
    title: ClassVar[str] = "Pruned weights"
    paper: ClassVar[str] = "Jia et al. 2023, Model Sparsity Can Simplify Machine Unlearning, arXiv 2304.04934"
    rank: ClassVar[int] = 7
    says: ClassVar[str] = "Without the smallest weights, it gets {after} of the answers ({before} before{floor})."

    def change(self, model: nn.Module, case: Case, note: Callable[[str, nn.Module], None]) -> None:
        """By magnitude."""
        for share in self.shares:
            note(f"{100 * share:g} %", pruned(model, share))


@register
@dataclass(frozen=True)
class Noise(Changed):
    """Adds noise to the weights.

    Attributes:
        scales: of the noise, as a share of the root mean square of each matrix.
        draws: over which each answer's number is averaged.
    """

    scales: tuple[float, ...] = (0.05, 0.1)
    draws: int = 2
    name: ClassVar[str] = "noise"
    title: ClassVar[str] = "Noise on the weights"
    paper: ClassVar[str] = "Tice et al. 2024, Noise Injection Reveals Hidden Capabilities, arXiv 2412.01784"
    rank: ClassVar[int] = 8
    says: ClassVar[str] = "With noise on the weights, it gets {after} of the answers ({before} before{floor})."

    def change(self, model: nn.Module, case: Case, note: Callable[[str, nn.Module], None]) -> None:
        """Several draws of each scale."""
        for number, scale in enumerate(self.scales):
            for draw in range(self.draws):
                note(f"{scale:g}", with_noise(model, scale, mix(case.seed, number, draw)))


def _lesson(case: Case, probe: Probe) -> Encoded:
    return encode(probe.example, case.tokenizer, probe.template)


def _mean(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))
