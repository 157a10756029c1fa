"""The training loop, on accelerate: one process or several, bf16, accumulation, checkpoints, exact resume."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnemotomy.core.progress import progress_bar
from mnemotomy.core.seeds import mix
from mnemotomy.metabolism.objective import Objective, Step
from mnemotomy.metabolism.reference import Reference
from mnemotomy.metabolism.rlcp import RLCP, Training
from mnemotomy.metabolism.setup import Retained
from mnemotomy.metabolism.streams import Sequences, Streams
from mnemotomy.training.checkpoint import (
    CHECKPOINT,
    load_checkpoint,
    restore_state,
    save_checkpoint,
    trained_state,
)
from mnemotomy.training.log import StepLog


@dataclass(frozen=True)
class Material:
    """What is trained on: both streams, the texts that are to stay, and the frozen reference's logits."""

    streams: Streams
    retained: Retained
    reference: Reference | None


@dataclass(frozen=True)
class Run:
    """Where a run is kept.

    Attributes:
        folder: of checkpoints and of the log ``steps.jsonl``; nothing is written without one.
        key: of the run; a checkpoint with another is refused.
        progress: whether to show the bar.
    """

    folder: Path | None
    key: str
    progress: bool = True


@dataclass(frozen=True)
class Outcome:
    """How training ended: the records of its steps, and the reason for an early end, if there was one."""

    records: list[dict[str, Any]]
    stopped: str | None


class NotFiniteError(Exception):
    """A loss or a gradient is NaN or infinite; caught by `train`."""


def train(objective: Objective, config: RLCP, material: Material, run: Run) -> Outcome:
    """Minimise the objective over the facts' prompts.

    A non-finite loss or gradient ends the run with the last good weights: the latest start of an epoch from which a
    finite loss was computed, or the present ones where the loss is finite and only its gradient is not.
    """
    accelerator = _accelerator(config.training)
    optimizer = _optimizer(objective, config.training)
    prepared, optimizer = accelerator.prepare(objective, optimizer)
    module: Objective = accelerator.unwrap_model(prepared)
    steps = _Steps(config, material, accelerator.process_index, accelerator.num_processes)
    checkpoint = None if run.folder is None else run.folder / CHECKPOINT
    done = 0 if checkpoint is None else load_checkpoint(checkpoint, module, optimizer, run.key)
    main = accelerator.is_main_process
    log = StepLog(run.folder / "steps.jsonl" if run.folder and main else None, resume_at=done)
    good = begun = trained_state(module)
    stopped = None
    prepared.train()
    with progress_bar("metabolism", steps.total, enabled=run.progress and main) as advance:
        advance(done)
        try:
            for number in range(done, steps.total):
                record = _update(accelerator, prepared, optimizer, steps, number)
                good = begun  # only now is it known that their loss is finite
                log.add(record)
                advance(1, _note(record))
                if steps.ends_epoch(number):
                    begun = trained_state(module)
                    epoch = steps.epoch(number)
                    if checkpoint is not None and main and (epoch + 1) % config.training.save_every == 0:
                        save_checkpoint(checkpoint, module, optimizer, number + 1, run.key)
            _check_end(accelerator, prepared, steps)
        except NotFiniteError as error:
            stopped = str(error)
            if "loss" in stopped:
                restore_state(module, good)
        except KeyboardInterrupt:
            saved = checkpoint is not None and checkpoint.is_dir()
            where = f"go on from {checkpoint} with the same command" if saved else "nothing was saved"
            raise KeyboardInterrupt(where) from None
        finally:
            log.close()
            module.eval()
    accelerator.free_memory()
    return Outcome(log.records, stopped)


class _Steps:
    """Which batches each update of this process sees; a function of the seed alone, so that a run can be resumed."""

    def __init__(self, config: RLCP, material: Material, process: int, processes: int) -> None:
        self.config, self.material = config, material
        self.process, self.processes = process, processes
        training = config.training
        self.batch_size = training.batch_size
        batches = math.ceil(len(material.streams.facts) / self.batch_size)
        self.per_epoch = math.ceil(batches / (processes * training.accumulation))
        self.total = self.per_epoch * training.epochs

    def epoch(self, number: int) -> int:
        return number // self.per_epoch

    def ends_epoch(self, number: int) -> bool:
        return (number + 1) % self.per_epoch == 0

    def progress(self, number: int) -> float:
        return number / max(1, self.total - 1)

    def parts(self, number: int, device: torch.device) -> Iterator[Step]:
        """The batches that this process adds up for update ``number``."""
        training = self.config.training
        order = self.material.streams.order(self.epoch(number), self.batch_size, by_slot=self.config.acting.deeper)
        each = training.accumulation * self.processes
        first = (number % self.per_epoch) * each + self.process
        for part in range(training.accumulation):
            # the last update of an epoch takes up batches from its start, so that every process has one
            position = first + part * self.processes
            yield self._step(order[position % len(order)], number * each + part * self.processes + self.process, device)

    def _step(self, indices: list[int], draw: int, device: torch.device) -> Step:
        config, streams, retained = self.config, self.material.streams, self.material.retained
        labels, slots = streams.labels(indices)
        asked = streams.without_context(indices) if config.needs_prompts else None
        told = streams.with_context(indices, draw) if config.lambda_rag > 0 else None
        chosen: list[int] = []
        if config.lambda_retain > 0:
            generator = torch.Generator().manual_seed(mix(config.training.seed, draw))
            size = min(len(retained), RETAINED_PER_EXAMPLE * self.batch_size)
            chosen = torch.randperm(len(retained), generator=generator)[:size].tolist()
        kept = retained.encode(chosen) if chosen else None
        asked, told, kept = (_to(texts, device) for texts in (asked, told, kept))
        return Step(
            alpha=config.schedule(self.progress(draw // (config.training.accumulation * self.processes))),
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
"""Texts that are to stay in a step, for each example of the streams."""


def _update(accelerator: Any, prepared: nn.Module, optimizer: Any, steps: _Steps, number: int) -> dict[str, Any]:
    """One update of the parameters, and its record."""
    training = steps.config.training
    torch.manual_seed(mix(training.seed, number, steps.process))  # dropout, the same after a resume
    _set_rate(optimizer, training, number, steps.total)
    sums: dict[str, float] = {}
    parts = list(steps.parts(number, accelerator.device))
    for position, step in enumerate(parts):
        last = position == len(parts) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(prepared):
            terms = prepared(step)
            _check_finite(accelerator, terms["total"], f"loss of step {number}")
            accelerator.backward(terms["total"] / len(parts))
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(parts)
    norm = accelerator.clip_grad_norm_(prepared.parameters(), training.clip)
    _check_finite(accelerator, norm, f"gradient of step {number}")
    optimizer.step()
    optimizer.zero_grad()
    return {
        "step": number,
        "epoch": steps.epoch(number),
        "progress": steps.progress(number),
        "alpha": parts[0].alpha,
        "learning_rate": optimizer.param_groups[0]["lr"],
        "gradient_norm": float(norm),
        **sums,
    }


def _check_end(accelerator: Any, prepared: nn.Module, steps: _Steps) -> None:
    """The last update has no next step to be found out by."""
    with torch.no_grad():
        for step in steps.parts(steps.total - 1, accelerator.device):
            _check_finite(accelerator, prepared(step)["total"], "loss after the last step")


def _check_finite(accelerator: Any, value: Tensor, what: str) -> None:
    """Every process must come to the same decision, or the others would wait forever."""
    bad = (~torch.isfinite(value.detach())).float().reshape(1).to(accelerator.device)
    if float(accelerator.reduce(bad, "sum")) > 0:
        raise NotFiniteError(f"the {what} is not finite")


def _accelerator(training: Training) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # it remembers the precision of an earlier run of this process
    return Accelerator(mixed_precision=training.precision)


def _optimizer(objective: Objective, training: Training) -> torch.optim.Optimizer:
    probes = {id(p) for p in objective.probes.parameters()}
    groups = [
        {
            "params": [p for p in objective.parameters() if p.requires_grad and id(p) not in probes],
            "scale": 1.0,
        },
        {
            "params": list(objective.probes.parameters()),
            "scale": (training.probe_learning_rate or training.learning_rate) / training.learning_rate,
        },
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True)


def _set_rate(optimizer: Any, training: Training, number: int, total: int) -> None:
    rising = round(training.warmup * total)
    share = min(1.0, (number + 1) / max(1, rising))
    if training.decay and number >= rising:
        share = 0.5 * (1 + math.cos(math.pi * (number - rising) / max(1, total - rising)))
    rate = training.learning_rate * share
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def _to(texts: Sequences | None, device: torch.device) -> Sequences | None:
    return None if texts is None else Sequences(*(part.to(device) for part in texts))


def _note(record: dict[str, Any]) -> str:
    shown = ("total", "L_RAG", "L_P", "L_L", "L_KL", "L_retain", "probe_accuracy")
    return "  ".join(f"{name} {record[name]:.3g}" for name in shown if name in record)
