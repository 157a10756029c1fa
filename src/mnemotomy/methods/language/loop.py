"""The training loop of all gradient methods for language models: AdamW on steps determined by seed and number."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from mnemotomy.core.bounded import check_count
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.modules import device_of, keeping_flags
from mnemotomy.core.seeds import seeded
from mnemotomy.training import loop
from mnemotomy.training.adapter import LoRA, with_adapter
from mnemotomy.training.checkpoint import CHECKPOINT, Checkpoints, remove_checkpoint
from mnemotomy.training.loop import Update, train
from mnemotomy.training.optimiser import Optimiser, decaying_matrices, linear, trained_parameters
from mnemotomy.training.processes import accelerated

LOG = "steps.jsonl"
"""The record of every step, in the folder of a run."""

T = TypeVar("T")


class Step(NamedTuple):
    """The input of one update; a function of seed and number alone, so that a run can be resumed.

    Attributes:
        number: of the step, from 0.
        progress: of the whole run, from 0 to 1.
        forget: indices of examples to forget; each occurs once per epoch.
        retain: indices of examples to retain, one drawn at random for each to forget.
        seed: for everything else that the step draws.
        start: position of the part's first example in the whole step.
        cut_from: the whole step, where this is a part.
    """

    number: int
    progress: float
    forget: list[int]
    retain: list[int]
    seed: int
    start: int = 0
    cut_from: Step | None = None

    @property
    def whole(self) -> Step:
        """The step that this is a part of, or itself."""
        return self.cut_from or self

    def parts(self, count: int) -> list[Step]:
        """The step cut into at most ``count`` parts."""
        size = math.ceil(len(self.forget) / count)
        return [
            self._replace(
                forget=self.forget[at : at + size], retain=self.retain[at : at + size], start=at, cut_from=self
            )
            for at in range(0, len(self.forget), size)
        ]

    def own(self, drawn: Sequence[T]) -> Sequence[T]:
        """The part's share of what was drawn for the whole step."""
        return drawn[self.start : self.start + len(self.forget)]

    def share(self, weigh: Callable[[Step], float] = lambda step: len(step.forget)) -> float:
        """The weight of the part's mean in the whole step's: its share of the examples, or of what ``weigh`` counts."""
        whole = weigh(self.whole)
        return weigh(self) / whole if whole else 1.0

    def update(self, count: int) -> Update[Step]:
        """The step as the training loop takes it."""
        return Update(self.parts(count), self.seed)


Loss = Callable[[nn.Module, Step], Tensor]
"""A model's loss on a step or a part of one. The parts' losses add up to the step's: each term is the mean over its
examples or tokens, times the part's ``share`` of them."""


@dataclass(frozen=True)
class Descent:
    """AdamW as in OpenUnlearning's trainer: the rate rises for an epoch, then falls linearly to zero.

    Attributes:
        learning_rate: the peak. 1e-5 suits a billion parameters and more; small models need up to 1e-3.
        epochs: passes over the forget set.
        batch_size: examples to forget in one update, and as many to retain.
        accumulation: parts to cut an update into where its batch does not fit into memory.
        weight_decay: of matrices; biases and norms have none.
        warmup_epochs: epochs in which the rate rises.
        clip: norm to which the gradient is clipped.
        lora: train an adapter, merged at the end, instead of the weights.
        precision: ``bf16`` autocast or ``no``; ``auto`` takes bf16 on a GPU that supports it.

    Raises:
        ConfigurationError: a value is out of range.
    """

    learning_rate: float = 1e-5
    epochs: int = 10
    batch_size: int = 32
    accumulation: int = 1
    weight_decay: float = 0.01
    warmup_epochs: float = 1.0
    clip: float = 1.0
    lora: LoRA | None = None
    precision: Literal["auto", "no", "bf16"] = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation"):
            check_count(name, getattr(self, name))
        if not self.learning_rate > 0.0 or not self.clip > 0.0:
            raise ConfigurationError(f"learning rate and clip are above 0, not {self.learning_rate} and {self.clip}")
        if not 0.0 <= self.weight_decay < math.inf or not 0.0 <= self.warmup_epochs < math.inf:
            raise ConfigurationError(
                f"weight decay and warm-up are finite and at least 0, not {self.weight_decay} and {self.warmup_epochs}"
            )
        if self.precision not in ("auto", "no", "bf16"):
            raise ConfigurationError(f"precision is 'auto', 'no' or 'bf16', not {self.precision!r}")


@dataclass(frozen=True)
class DescentRun:
    """A run, apart from its settings.

    Attributes:
        name: of the progress bar, and in errors.
        forget, retain: number of examples in each set.
        seed: of the order, of all draws, of dropout and of an adapter.
        folder: for a checkpoint after every epoch, removed at the end; None to write nothing.
        key: of the run; a checkpoint with another key is refused.
    """

    name: str
    forget: int
    retain: int
    seed: int = 0
    folder: Path | None = None
    key: str = ""

    def per_epoch(self, settings: Descent) -> int:
        """Steps per epoch."""
        return math.ceil(self.forget / settings.batch_size)


def descend(
    model: nn.Module, loss: Loss, settings: Descent, run: DescentRun, *, companion: nn.Module | None = None
) -> nn.Module:
    """Train ``model`` in place, on its device and in one process; return it in evaluation mode, any adapter merged.

    Args:
        model: its parameters that require gradients are trained, or an adapter in their place.
        loss: of the model on one step.
        run: number of examples, seed, checkpoints.
        companion: a module of the loss, such as a probe, trained at its own ``learning_rate``.

    Raises:
        ConfigurationError: accelerate is not installed, or peft for an adapter.
        TrainingError: a loss or a parameter is no longer finite, there is nothing to train, or the checkpoint belongs
            to another run.
    """
    with keeping_flags(model):
        with seeded(run.seed, device_of(model)):
            adapted = with_adapter(model, settings.lora)
        checkpoints = None if run.folder is None else Checkpoints(run.folder / CHECKPOINT, run.key, last=False)
        log = None if run.folder is None else run.folder / LOG
        train(
            adapted,
            lambda epoch, _: (step.update(settings.accumulation) for step in steps_of_epoch(run, settings, epoch)),
            loss,
            _optimiser(adapted, companion, settings, run),
            loop.Run(
                run.name,
                settings.epochs,
                run.per_epoch(settings),
                run.seed,
                checkpoints=checkpoints,
                log=log,
                growth=loop.GROWN,
            ),
            accelerator=accelerated(settings.precision, device_of(model)),
            companion=companion,
        )
        result: nn.Module = adapted if settings.lora is None else adapted.merge_and_unload()
    if run.folder is not None:
        remove_checkpoint(run.folder)
    return result.eval()


def steps_of_epoch(run: DescentRun, settings: Descent, epoch: int) -> Iterator[Step]:
    """The steps of an epoch: each example to forget once, paired with one to retain drawn at random."""
    draw = random.Random(f"{run.seed} epoch {epoch}")
    order = draw.sample(range(run.forget), run.forget)
    each = run.per_epoch(settings)
    for place, start in enumerate(range(0, run.forget, settings.batch_size)):
        forget = order[start : start + settings.batch_size]
        retain = [draw.randrange(run.retain) for _ in forget]
        number = epoch * each + place
        progress = number / max(1, each * settings.epochs - 1)
        yield Step(number, progress, forget, retain, draw.randrange(1 << 62))


def rate(number: int, per_epoch: int, settings: Descent) -> float:
    """The factor of the learning rate at step ``number``: linear warm-up, then linear decay to zero."""
    return linear(number, per_epoch * settings.epochs, round(per_epoch * settings.warmup_epochs))


def _optimiser(model: nn.Module, companion: nn.Module | None, settings: Descent, run: DescentRun) -> Optimiser:
    groups = decaying_matrices(trained_parameters(model, run.name).values(), settings.weight_decay)
    if companion is not None and (own := list(companion.parameters())):
        highest = float(getattr(companion, "learning_rate", settings.learning_rate))
        groups.append({"params": own, "weight_decay": 0.0, "lr": highest})
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    each = run.per_epoch(settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda number: rate(number, each, settings))
    return Optimiser(optimizer, schedule, settings.clip)
