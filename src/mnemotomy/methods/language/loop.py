"""The one training loop of all gradient methods for language models, on accelerate."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError, TrainingError
from mnemotomy.core.modules import device_of, keeping_flags
from mnemotomy.core.progress import progress_bar
from mnemotomy.training.adapter import LoRA, with_adapter
from mnemotomy.training.checkpoint import load_checkpoint, save_checkpoint, seconds_before

CHECKPOINT = "checkpoint"
"""The folder of a checkpoint, in that of the run."""


class Step(NamedTuple):
    """What one update is computed from; a function of seed and number alone, so that a run can be resumed.

    Attributes:
        number: of the step, from 0.
        progress: of the whole run, from 0 to 1.
        forget: indices of examples to forget; an epoch has each once.
        retain: indices of examples to retain, one drawn at random for each to forget.
        seed: of whatever else the step draws.
    """

    number: int
    progress: float
    forget: list[int]
    retain: list[int]
    seed: int

    def parts(self, count: int) -> list[Step]:
        """The step cut into at most ``count`` smaller ones."""
        size = math.ceil(len(self.forget) / count)
        return [
            self._replace(forget=self.forget[at : at + size], retain=self.retain[at : at + size], seed=self.seed + at)
            for at in range(0, len(self.forget), size)
        ]


Loss = Callable[[nn.Module, Step], Tensor]
"""Of the model in training on one step; the mean over the step's examples, or over their tokens."""


@dataclass(frozen=True)
class Descent:
    """AdamW as OpenUnlearning's trainer has it: the rate rises for an epoch, then falls to zero along a line.

    Attributes:
        learning_rate: the highest. 1e-5 suits a billion parameters and more; small models want up to 1e-3.
        epochs: passes over the forget set.
        batch_size: examples to forget in one update, and as many to retain.
        accumulation: parts that an update is cut into where its batch does not fit into memory.
        weight_decay: of matrices; biases and norms have none.
        warmup_epochs: in which the rate rises.
        clip: norm to which the gradient is clipped.
        lora: train an adapter, merged at the end, and not the weights.
        precision: ``bf16`` autocast or ``no``; ``auto`` takes bf16 on a GPU that has it.

    Raises:
        ConfigurationError: a value is out of its range.
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
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.learning_rate > 0.0 or not self.clip > 0.0:
            raise ConfigurationError(f"learning rate and clip are above 0, not {self.learning_rate} and {self.clip}")
        if not 0.0 <= self.weight_decay < math.inf or not 0.0 <= self.warmup_epochs < math.inf:
            raise ConfigurationError(
                f"weight decay and warm-up are finite and at least 0, not {self.weight_decay} and {self.warmup_epochs}"
            )
        if self.precision not in ("auto", "no", "bf16"):
            raise ConfigurationError(f"precision is 'auto', 'no' or 'bf16', not {self.precision!r}")


@dataclass(frozen=True)
class Run:
    """What is run, beside its settings.

    Attributes:
        name: of the progress bar, and in errors.
        forget, retain: how many examples there are of each.
        seed: of the order, of what is drawn, of dropout and of an adapter.
        folder: of a checkpoint after every epoch, which is removed at the end; nothing is written without one.
        key: of the run; a checkpoint with another is refused.
    """

    name: str
    forget: int
    retain: int
    seed: int = 0
    folder: Path | None = None
    key: str = ""


def descend(
    model: nn.Module, loss: Loss, settings: Descent, run: Run, *, companion: nn.Module | None = None
) -> nn.Module:
    """Train ``model`` in place, and give it back in evaluation mode, an adapter merged.

    It stays on its device, in one process.

    Args:
        model: its parameters that require gradients are trained, or an adapter in their place.
        loss: of the model on one step.
        settings: of the optimiser.
        run: how many examples, which seed, where checkpoints go.
        companion: a module of the loss that is trained along, with its own rate ``learning_rate``, as a probe.

    Raises:
        ConfigurationError: accelerate is not installed, or peft where an adapter is wanted.
        TrainingError: a loss or a parameter is no longer finite, there is nothing to train, or the checkpoint belongs
            to another run.
    """
    with _seeded(run.seed, device_of(model)), keeping_flags(model):
        adapted = with_adapter(model, settings.lora)
        module = nn.ModuleDict({"model": adapted} | ({} if companion is None else {"companion": companion}))
        accelerator = _accelerator(settings, device_of(model))
        optimizer = torch.optim.AdamW(_groups(adapted, companion, settings, run.name), fused=True)
        prepared, optimizer = accelerator.prepare(adapted, optimizer, device_placement=[False, False])
        _descend(accelerator, prepared, optimizer, loss, settings, run, module)
        accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
        accelerator.free_memory()
        result: nn.Module = adapted if settings.lora is None else adapted.merge_and_unload()
    if not all(bool(torch.isfinite(value).all()) for value in result.parameters()):
        raise _diverged(run.name, "a parameter is no longer finite", settings)
    result.zero_grad()
    return result.eval()


def steps_of_epoch(run: Run, settings: Descent, epoch: int) -> Iterator[Step]:
    """The steps of an epoch: each example to forget once, with one to retain drawn for it."""
    draw = random.Random(f"{run.seed} epoch {epoch}")
    order = draw.sample(range(run.forget), run.forget)
    each = math.ceil(run.forget / settings.batch_size)
    for place, start in enumerate(range(0, run.forget, settings.batch_size)):
        forget = order[start : start + settings.batch_size]
        retain = [draw.randrange(run.retain) for _ in forget]
        number = epoch * each + place
        progress = number / max(1, each * settings.epochs - 1)
        yield Step(number, progress, forget, retain, draw.randrange(1 << 62))


def rate(number: int, per_epoch: int, settings: Descent) -> float:
    """The share of the learning rate at step ``number``: up along a line in the warm-up, then down to zero."""
    total, rising = per_epoch * settings.epochs, round(per_epoch * settings.warmup_epochs)
    return min((number + 1) / max(1, rising), (total - number) / max(1, total - rising), 1.0)


def _descend(
    accelerator: Any, prepared: nn.Module, optimizer: Any, loss: Loss, settings: Descent, run: Run, module: nn.Module
) -> None:
    checkpoint = None if run.folder is None else run.folder / CHECKPOINT
    done = 0 if checkpoint is None else load_checkpoint(checkpoint, module, optimizer, run.key)
    start = time.perf_counter() - (0.0 if checkpoint is None else seconds_before(checkpoint))
    per_epoch = math.ceil(run.forget / settings.batch_size)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    prepared.train()
    with progress_bar(run.name, per_epoch * settings.epochs) as advance:
        advance(done)
        try:
            for epoch in range(done // per_epoch, settings.epochs):
                for step in steps_of_epoch(run, settings, epoch):
                    for group in optimizer.param_groups:
                        group["lr"] = group["highest"] * rate(step.number, per_epoch, settings)
                    torch.manual_seed(step.seed)  # dropout, the same after a resume
                    value = 0.0
                    for part in step.parts(settings.accumulation):
                        found = loss(prepared, part) * (len(part.forget) / len(step.forget))
                        accelerator.backward(found)
                        value += float(found.detach())
                    norm = float(accelerator.clip_grad_norm_(trained, settings.clip))
                    if not math.isfinite(value) or not math.isfinite(norm):
                        what = f"the loss is {value:g} and the gradient's norm {norm:g} in epoch {epoch + 1}"
                        raise _diverged(run.name, what, settings)
                    optimizer.step()
                    optimizer.zero_grad()
                    advance(1, f"loss {value:.3g}")
                if checkpoint is not None and epoch + 1 < settings.epochs:
                    seconds = time.perf_counter() - start
                    save_checkpoint(checkpoint, module, optimizer, per_epoch * (epoch + 1), run.key, seconds)
        except KeyboardInterrupt:
            where = "nothing was saved" if checkpoint is None else f"go on from {checkpoint} with the same command"
            raise KeyboardInterrupt(where) from None
    if checkpoint is not None:
        shutil.rmtree(checkpoint, ignore_errors=True)


def _groups(model: nn.Module, companion: nn.Module | None, settings: Descent, name: str) -> list[dict[str, Any]]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise TrainingError(f"{name}: no parameter requires gradients; call requires_grad_(True) on the model")
    common = {"lr": settings.learning_rate, "highest": settings.learning_rate}
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.weight_decay} | common,
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0} | common,
    ]
    if companion is not None:
        own = float(getattr(companion, "learning_rate", settings.learning_rate))
        groups.append({"params": list(companion.parameters()), "weight_decay": 0.0, "lr": own, "highest": own})
    return [group for group in groups if group["params"]]


def _accelerator(settings: Descent, device: torch.device) -> Any:
    if importlib.util.find_spec("accelerate") is None:
        raise ConfigurationError("training needs accelerate; get it with: pip install 'mnemotomy[train]'")
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    precision = settings.precision
    if precision == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if native else "no"
    AcceleratorState._reset_state()  # it remembers the precision of an earlier run of this process
    return Accelerator(mixed_precision=precision, device_placement=False)


def _diverged(name: str, what: str, settings: Descent) -> TrainingError:
    return TrainingError(f"{name}: {what}, at learning rate {settings.learning_rate:g}; take a smaller one")


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
