"""Whether a little training, or a small change of the weights, brings back what was forgotten."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn
from transformers.utils import is_torchao_available

from mnemotomy.audit.attack import register
from mnemotomy.audit.base import Case
from mnemotomy.audit.changing import (
    BENIGN,
    EIGHT,
    NOISE,
    PRUNED,
    QUANTISED,
    Changing,
    Noising,
    Note,
    Pruning,
    Quantising,
    Row,
)
from mnemotomy.audit.observing import answer_scores
from mnemotomy.audit.unknown import GUESSES, lacks_unknown, spread, unknown
from mnemotomy.audit.weights import Teaching, quantised_by_torchao, taught
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import autocast
from mnemotomy.metrics.tofu.answers import exact_memorization
from mnemotomy.text.encoding import Encoded, encode
from mnemotomy.text.probes import Probe
from mnemotomy.text.records import TextExample
from mnemotomy.training.adapter import LoRA

_OTHERS, _ANSWERS = ", it predicts {after} of the tokens of the others", ", it predicts {after} of the answers' tokens"
_TEXT = 64  # tokens of a general text that are trained on


@dataclass(frozen=True)
class Changed(Changing):
    """An attack that changes a copy of the model and then reads how many tokens of the answers are the likeliest.

    Attributes:
        asked: the most forgotten questions that are asked, spread evenly.
    """

    asked: int = 20
    unit: ClassVar[str] = "share of the answers' tokens predicted"

    def lacks(self, case: Case) -> str | None:
        return lacks_unknown(case, "what the change alone teaches")

    def questions(self, case: Case) -> list[Probe]:
        """The forgotten questions that are asked."""
        return spread(case.forget, self.asked)

    def sets(self, case: Case) -> tuple[list[Probe], list[list[Probe]]]:
        asked = self.questions(case)
        return asked, unknown(case, asked, GUESSES)

    def numbers(self, model: nn.Module, case: Case, sets: Sequence[Sequence[Probe]]) -> list[Row]:
        with autocast(device_of(model), case.precision):  # in one call: most sets ask the same questions
            found = iter(answer_scores(model, case, [probe for one in sets for probe in one], exact_memorization))
        return [tuple(next(found) for _ in one) for one in sets]


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

    def change(self, model: nn.Module, case: Case, note: Note) -> None:
        marks = {round(self.steps * number / self.readings) for number in range(1, self.readings + 1)}
        adapter = LoRA(self.lora, 2 * self.lora) if self.lora else None
        teaching = Teaching(self.steps, self.learning_rate, self.batch_size, adapter, case.seed, case.precision)

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

    def lacks(self, case: Case) -> str | None:
        if len(case.forget) < 2 * self.examples:
            return f"needs at least {2 * self.examples} forgotten questions"
        return super().lacks(case)

    def lessons(self, case: Case) -> list[Encoded]:
        return [_lesson(case, one) for one in spread(case.forget, self.examples)]

    def questions(self, case: Case) -> list[Probe]:
        shown = {id(one) for one in spread(case.forget, self.examples)}
        return spread([one for one in case.forget if id(one) not in shown], self.asked)


@register("relearn-1", "Relearning on 1 example", EIGHT, says="Trained on 1 forgotten example" + _OTHERS)
class RelearnOne(Relearn):
    """On one example."""

    examples: int = 1


@register("relearn-5", "Relearning on 5 examples", EIGHT, says="Trained on 5 forgotten examples" + _OTHERS)
class RelearnFive(Relearn):
    """On five examples."""


@register("relearn-20", "Relearning on 20 examples", EIGHT, says="Trained on 20 forgotten examples" + _OTHERS)
class RelearnTwenty(Relearn):
    """On twenty examples."""

    examples: int = 20


@register(
    "relearn-lora",
    "Relearning on 5 examples by LoRA",
    EIGHT,
    says="With an adapter trained on 5 forgotten examples" + _OTHERS,
)
class RelearnLoRA(Relearn):
    """On five examples, by a low-rank adapter."""

    lora: int = 8
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Benign(Relearning):
    """Trains on what does not contain the answers.

    Attributes:
        texts: the most.
    """

    texts: int = 20

    def lacks(self, case: Case) -> str | None:
        return super().lacks(case) if self.lessons(case) else "needs texts to train on"


@register("relearn-related", "Relearning on the retain set", BENIGN, says="Trained on the retain set alone" + _ANSWERS)
class BenignRelated(Benign):
    """On the retain set."""

    def lessons(self, case: Case) -> list[Encoded]:
        return [_lesson(case, one) for one in spread(case.retain, self.texts)]


@register(
    "relearn-unrelated", "Relearning on unrelated texts", BENIGN, says="Trained on unrelated texts alone" + _ANSWERS
)
class BenignUnrelated(Benign):
    """On general texts."""

    def lessons(self, case: Case) -> list[Encoded]:
        """The last of the case's texts, which come from no set."""
        examples = [TextExample.of_text(text) for text in case.texts[-self.texts :]]
        return [encode(one, case.tokenizer, case.template, max_length=_TEXT) for one in examples]


@register("quantised", "Weights in 8 and 4 bits", QUANTISED, says="With rounded weights" + _ANSWERS)
class Quantised(Quantising, Changed):
    """Rounds the weights.

    Attributes:
        torchao: also by torchao in 8 bits; by default if it is installed.
    """

    torchao: bool = field(default_factory=is_torchao_available)

    def change(self, model: nn.Module, case: Case, note: Note) -> None:
        super().change(model, case, note)
        if self.torchao:
            note("8 bits, torchao", quantised_by_torchao(model))


@register("pruned", "Pruned weights", PRUNED, says="Without the smallest weights" + _ANSWERS)
class Pruned(Pruning, Changed):
    """Removes the smallest weights of each matrix."""


@register("noise", "Noise on the weights", NOISE, says="With noise on the weights" + _ANSWERS)
class Noise(Noising, Changed):
    """Adds noise to the weights."""


def _lesson(case: Case, probe: Probe) -> Encoded:
    return encode(probe.example, case.tokenizer, probe.template)
