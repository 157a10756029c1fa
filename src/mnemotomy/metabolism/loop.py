"""RLCP's batches, and training on them: several processes, bf16, exact resume (``training.loop``)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnemotomy.core.seeds import mix
from mnemotomy.metabolism.objective import Counts, Objective, StepInputs
from mnemotomy.metabolism.reference import Reference
from mnemotomy.metabolism.rlcp import RLCP, Training
from mnemotomy.metabolism.setup import Retained
from mnemotomy.metabolism.streams import Sequences, Streams
from mnemotomy.training import loop
from mnemotomy.training.checkpoint import CHECKPOINT, Checkpoints
from mnemotomy.training.loop import Outcome, Terms, Update
from mnemotomy.training.optimiser import Optimiser, cosine
from mnemotomy.training.processes import accelerated


@dataclass(frozen=True)
class Material:
    """Training data: both streams, the retain set, and the frozen reference's logits."""

    streams: Streams
    retained: Retained
    reference: Reference | None


@dataclass(frozen=True)
class SavedRun:
    """Where a run is saved.

    Attributes:
        folder: for checkpoints and the log ``steps.jsonl``; None writes nothing.
        key: identifies the run; a checkpoint with another key is refused.
        progress: whether to show a progress bar.
    """

    folder: Path | None
    key: str
    progress: bool = True


def train(objective: Objective, config: RLCP, material: Material, run: SavedRun) -> Outcome:
    """Minimise the objective over the facts' prompts.

    A non-finite loss or gradient ends the run with the last good weights (``training.loop.train``).
    """
    training = config.training
    accelerator = accelerated(training.precision)
    steps = Steps(config, material, accelerator.process_index, accelerator.num_processes)
    folder = run.folder
    return loop.train(
        objective,
        lambda epoch, _: steps.of_epoch(epoch, accelerator),
        _loss,
        _optimiser(objective, training, steps.total),
        loop.Run(
            "metabolism",
            training.epochs,
            steps.per_epoch,
            training.seed,
            recovers=True,
            checkpoints=None if folder is None else Checkpoints(folder / CHECKPOINT, run.key, training.save_every),
            log=None if folder is None else folder / "steps.jsonl",
            progress=run.progress,
            growth=loop.GROWN,
        ),
        accelerator=accelerator,
    )


def _loss(objective: nn.Module, part: StepInputs) -> Terms:
    terms = objective(part)
    return Terms(terms["total"], {name: float(value.detach()) for name, value in terms.items()})


class Steps:
    """The batches of each update of this process. They depend on the seed alone, so a run can be resumed."""

    def __init__(self, config: RLCP, material: Material, process: int, processes: int) -> None:
        self.config, self.material = config, material
        self.process, self.processes = process, processes
        training = config.training
        self.batch_size = training.batch_size
        batches = math.ceil(len(material.streams.facts) / self.batch_size)
        self.per_epoch = math.ceil(batches / (processes * training.accumulation))
        self.total = self.per_epoch * training.epochs

    def of_epoch(self, epoch: int, accelerator: Any) -> Iterator[Update[StepInputs]]:
        """The updates of an epoch. Each term is a mean over all parts of all processes."""
        for number in range(epoch * self.per_epoch, (epoch + 1) * self.per_epoch):
            progress = number / max(1, self.total - 1)
            steps = list(self.parts(number, accelerator.device))
            counts = torch.tensor([step.counts(self.config) for step in steps])
            totals = accelerator.reduce(counts.sum(0).to(accelerator.device), "sum").cpu()
            # processes average their gradients
            shares = (self.processes * counts / totals.clamp_min(1.0)).tolist()
            shared = [step._replace(shares=Counts(*own)) for step, own in zip(steps, shares, strict=True)]
            seed = mix(self.config.training.seed, number, self.process)
            yield Update(shared, seed, {"progress": progress, "alpha": steps[0].alpha})

    def parts(self, number: int, device: torch.device) -> Iterator[StepInputs]:
        """The batches that this process accumulates for update ``number``."""
        training = self.config.training
        order = self.material.streams.order(
            number // self.per_epoch, self.batch_size, by_slot=self.config.acting.deeper
        )
        each = training.accumulation * self.processes
        first = (number % self.per_epoch) * each + self.process
        for part in range(training.accumulation):
            # the last update of an epoch wraps around to its first batches, so that every process has one
            position = first + part * self.processes
            yield self._step(order[position % len(order)], number * each + part * self.processes + self.process, device)

    def _step(self, indices: list[int], draw: int, device: torch.device) -> StepInputs:
        config, streams, retained = self.config, self.material.streams, self.material.retained
        labels, slots = streams.labels(indices)
        asked = streams.without_context(indices) if config.needs_prompts else None
        told = streams.with_context(indices, draw) if config.lambda_rag > 0 else None
        number = draw // (config.training.accumulation * self.processes)
        chosen: list[int] = []
        if config.lambda_retain > 0:
            generator = torch.Generator().manual_seed(mix(config.training.seed, draw))
            size = min(len(retained), config.training.retained or RETAINED_PER_EXAMPLE * self.batch_size)
            chosen = torch.randperm(len(retained), generator=generator)[:size].tolist()
        kept = retained.encode(chosen) if chosen else None
        asked, told, kept = (_to(texts, device) for texts in (asked, told, kept))
        return StepInputs(
            alpha=config.schedule(number / max(1, self.total - 1)),
            labels=labels.to(device),
            slots=slots.to(device),
            asked=asked,
            told=told,
            retained=kept,
            teacher_asked=self._teacher("asked", indices, asked) if config.lambda_kl > 0 else None,
            teacher_retained=self._teacher("retained", chosen, kept),
        )

    def _teacher(self, stream: str, indices: list[int], texts: Sequences | None) -> Tensor | None:
        reference = self.material.reference
        return None if reference is None or texts is None else reference.logits(stream, indices, texts)


RETAINED_PER_EXAMPLE = 2
"""Retained texts per example in each step, unless ``Training.retained`` says otherwise."""


def _optimiser(objective: Objective, training: Training, total: int) -> Optimiser:
    probes = {id(p) for p in objective.probes.parameters()}
    groups = [
        {"params": [p for p in objective.parameters() if p.requires_grad and id(p) not in probes]},
        {"params": list(objective.probes.parameters())},
    ]
    scale = (training.probe_learning_rate or training.learning_rate) / training.learning_rate
    optimizer = torch.optim.AdamW(groups, lr=1.0, weight_decay=training.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(  # these are absolute rates: the base rate is 1
        optimizer,
        [lambda number: _rate(training, number, total), lambda number: _rate(training, number, total) * scale],
    )
    return Optimiser(optimizer, schedule, training.clip)


def _rate(training: Training, number: int, total: int) -> float:
    rising = round(training.warmup * total)
    if training.decay or number < rising:
        return training.learning_rate * cosine(number, total, rising)
    return training.learning_rate


def _to(texts: Sequences | None, device: torch.device) -> Sequences | None:
    return None if texts is None else Sequences(*(part.to(device) for part in texts))
