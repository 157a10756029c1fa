"""The one training loop: the caller gives draws and a loss, the loop does everything else that a long run needs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import TrainingError
from mnemotomy.core.modules import device_of
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.seeds import seeded
from mnemotomy.training.checkpoint import Checkpoints, Progress, State, restore_state, trained_state
from mnemotomy.training.log import StepLog
from mnemotomy.training.optimiser import Optimiser, check_precision
from mnemotomy.training.processes import OneProcess

Part = TypeVar("Part")


class Update(NamedTuple, Generic[Part]):
    """The data of one update of the parameters.

    Attributes:
        parts: whose losses are added up; several if a batch does not fit into memory.
        seed: of dropout and of other draws from torch's random state; if None, the state is left alone.
        note: further entries of its record.
    """

    parts: Sequence[Part]
    seed: int | None = None
    note: Mapping[str, Any] = {}


class Terms(NamedTuple):
    """A loss, and its terms for the log."""

    loss: Tensor
    logged: Mapping[str, float]


GROWN = 100.0
"""The largest growth of the norm of all weights that training may lead to."""

Draw = Callable[[int, torch.Generator], Iterable[Update[Part]]]
"""The updates of an epoch, from its number and a generator that keeps its state from epoch to epoch."""

Loss = Callable[[nn.Module, Part], Tensor | Terms]
"""The loss of the model on one part: its share of the update's loss."""


@dataclass(frozen=True)
class Run:
    """How a run goes.

    Attributes:
        name: for the progress bar and for errors.
        epochs: how many.
        updates: per epoch, if known; the bar then counts updates, else epochs.
        seed: of the generator and of torch's random state, which is restored afterwards; None leaves both alone.
        evaluating: whether the model stays in evaluation mode, without dropout and with fixed batch statistics.
        recovers: whether a loss or gradient that is not finite ends the run with the last good weights instead of an
            error.
        checkpoints: where the run is saved; called again, it resumes from there.
        log: a file of JSON Lines with a record of every update.
        progress: whether to show the bar.
        around: a context for forward and backward passes, such as the caller's autocast.
        on_update: called after each update with its record: ``step``, ``epoch``, ``learning_rate``, ``total`` (the
            loss) and its terms.
        growth: how many times as large the norm of all weights may become; None for any. Training that diverged may
            stay finite.
    """

    name: str
    epochs: int
    updates: int | None = None
    seed: int | None = None
    evaluating: bool = False
    recovers: bool = False
    checkpoints: Checkpoints | None = None
    log: Path | None = None
    progress: bool = True
    around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    growth: float | None = None
    on_update: Callable[[Mapping[str, Any]], None] = lambda _: None


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        records: of its updates.
        seconds: including those before it was resumed.
        stopped: why it ended early, or None.
    """

    records: list[dict[str, Any]]
    seconds: float
    stopped: str | None


class NotFiniteError(Exception):
    """A loss, a gradient or a parameter is NaN or infinite; ``spoilt`` if the present weights are useless."""

    def __init__(self, what: str, *, spoilt: bool) -> None:
        super().__init__(what)
        self.spoilt = spoilt


def train(
    model: nn.Module,
    draw: Draw[Part],
    loss: Loss[Part],
    optimiser: Optimiser,
    run: Run,
    *,
    accelerator: Any = None,
    companion: nn.Module | None = None,
) -> Outcome:
    """Train ``model`` in place; it is left in evaluation mode and without gradients.

    A run that recovers ends with the weights of the last start of an epoch that gave a finite loss, or, if only the
    gradient is not finite, with the present weights.

    Args:
        model: to train; the loss is given what ``accelerator`` prepares from it.
        draw: the updates of an epoch.
        loss: of the model on a part of an update.
        optimiser: of the parameters that are trained.
        accelerator: one of ``processes``; by default one process without accelerate.
        companion: trained and saved with the model, such as the probes of a loss.

    Raises:
        TrainingError: a loss, a gradient or a parameter is not finite, or the checkpoint is of another run.
        KeyboardInterrupt: says where the run can be resumed.
    """
    accelerator = accelerator or OneProcess(device_of(model))
    return _Training(model, draw, loss, optimiser, run, accelerator, companion).outcome()


class _Training(Generic[Part]):
    def __init__(
        self,
        model: nn.Module,
        draw: Draw[Part],
        loss: Loss[Part],
        optimiser: Optimiser,
        run: Run,
        accelerator: Any,
        companion: nn.Module | None,
    ) -> None:
        self.draw, self.loss, self.optimiser, self.run, self.accelerator = draw, loss, optimiser, run, accelerator
        self.module = nn.ModuleDict({"model": model} | ({} if companion is None else {"companion": companion}))
        check_precision((one for one in self.module.parameters() if one.requires_grad), run.name)
        self.prepared, self.optimizer = accelerator.prepare(model, optimiser.optimizer)
        generator = torch.default_generator if run.seed is None else torch.Generator().manual_seed(run.seed)
        self.state = State(self.module, self.optimizer, optimiser.schedule, generator)
        self.done = 0
        self.norm = self._norm()

    def outcome(self) -> Outcome:
        run, stopped, main = self.run, None, self.accelerator.is_main_process
        try:
            with seeded(run.seed, device_of(self.module)):
                before = Progress() if run.checkpoints is None else self.state.load(run.checkpoints)
                self.done, start = before.updates, time.perf_counter() - before.seconds
                with contextlib.closing(StepLog(run.log if main else None, resume_at=self.done)) as log:
                    self.good = self.begun = trained_state(self.module) if run.recovers else {}
                    try:
                        self._epochs(before.epochs, start, log)
                    except NotFiniteError as error:
                        stopped = str(error)
                        self._recover(error)
            return Outcome(log.records, time.perf_counter() - start, stopped)
        finally:
            self.optimizer.zero_grad()
            self.accelerator.unwrap_model(self.prepared, keep_fp32_wrapper=False)
            self.accelerator.free_memory()
            self.module.eval()

    def _epochs(self, first: int, start: float, log: StepLog) -> None:
        run, main = self.run, self.accelerator.is_main_process
        total = run.epochs if run.updates is None else run.epochs * run.updates
        with progress_bar(run.name, total, enabled=run.progress and main) as advance, self._saying_where_to_resume():
            advance(first if run.updates is None else self.done)
            for epoch in range(first, run.epochs):
                self.module.train(not run.evaluating)
                last = None
                for update in self.draw(epoch, self.state.generator):
                    record = self._update(epoch, update)
                    self.good = self.begun  # their loss is only now known to be finite
                    log.add(record)
                    run.on_update(record)
                    last = update
                    advance(run.updates is not None, _note(record))
                self._check_growth(epoch)
                self._check_weights(epoch, last)
                kept = run.checkpoints
                if kept and main and (epoch + 1) % kept.every == 0 and (kept.last or epoch + 1 < run.epochs):
                    self.state.save(kept, Progress(epoch + 1, self.done, time.perf_counter() - start))
                advance(run.updates is None)

    def _update(self, epoch: int, update: Update[Part]) -> dict[str, Any]:
        """One update of the parameters, and its record."""
        accelerator, parts = self.accelerator, update.parts
        if update.seed is not None:
            torch.manual_seed(update.seed)  # dropout, the same after a resume
        self.optimizer.zero_grad()
        total, sums = 0.0, dict[str, float]()
        for position, part in enumerate(parts):
            last = position == len(parts) - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(self.prepared), self.run.around():
                found = self.loss(self.prepared, part)
                value, logged = found if isinstance(found, Terms) else (found, {})
                self._check(value, f"the loss of step {self.done} is not finite", spoilt=True)
                accelerator.backward(value)
            total += float(value.detach())
            for name, term in logged.items():
                sums[name] = sums.get(name, 0.0) + term
        record = {"step": self.done, "epoch": epoch, **update.note, "learning_rate": self._rate}
        if self.optimiser.clip is not None:
            trained = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
            norm = accelerator.clip_grad_norm_(trained, self.optimiser.clip)
            self._check(norm, f"the gradient of step {self.done} is not finite", spoilt=False)
            record["gradient_norm"] = float(norm)
        if self.optimiser.adjust is not None:
            self.optimiser.adjust()
        self.optimizer.step()
        if self.optimiser.schedule is not None:
            self.optimiser.schedule.step()
        self.done += 1
        return record | {"total": total} | sums

    @property
    def _rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _norm(self) -> float:
        """The norm of all weights, in float64: a diverged one may overflow."""
        squares = [value.detach().double().square().sum() for value in self.module.parameters()]
        return float(torch.stack([one.cpu() for one in squares]).sum().sqrt()) if squares else 0.0

    def _check_growth(self, epoch: int) -> None:
        """Refuse weights that have grown beyond the run's limit."""
        if self.run.growth is None:
            return
        growth = self._norm() / self.norm if self.norm > 0.0 else 1.0
        if growth > self.run.growth:
            raise NotFiniteError(f"the weights have grown {growth:.3g}-fold after epoch {epoch + 1}", spoilt=True)

    def _check_weights(self, epoch: int, last: Update[Part] | None) -> None:
        """After an epoch: check the weights, as no next loss checks the last update."""
        if not self.run.recovers:
            if not all(bool(torch.isfinite(value).all()) for value in self.module.parameters()):
                raise NotFiniteError(f"a parameter is not finite after epoch {epoch + 1}", spoilt=True)
            return
        if epoch + 1 == self.run.epochs and last is not None:
            with torch.no_grad():
                for part in last.parts:
                    found = self.loss(self.prepared, part)
                    value = found.loss if isinstance(found, Terms) else found
                    self._check(value, "the loss after the last step is not finite", spoilt=True)
        self.begun = trained_state(self.module)

    def _check(self, value: Tensor, what: str, *, spoilt: bool) -> None:
        """All processes must decide alike, or some would wait forever."""
        bad = (~torch.isfinite(value.detach())).float().reshape(1).to(self.accelerator.device)
        if float(self.accelerator.reduce(bad, "sum")) > 0:
            raise NotFiniteError(what, spoilt=spoilt)

    def _recover(self, error: NotFiniteError) -> None:
        if not self.run.recovers:
            rate = self.optimizer.defaults["lr"]
            raise TrainingError(f"{self.run.name}: {error}, at learning rate {rate:g}; choose a smaller one") from None
        if error.spoilt:
            restore_state(self.module, self.good)

    @contextlib.contextmanager
    def _saying_where_to_resume(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            folder = None if self.run.checkpoints is None else self.run.checkpoints.folder
            saved = folder is not None and folder.is_dir()
            where = f"resume from {folder} with the same command" if saved else "nothing was saved"
            raise KeyboardInterrupt(where) from None


def _note(record: Mapping[str, Any]) -> str:
    names = list(record)
    return "  ".join(f"{name} {record[name]:.3g}" for name in names[names.index("total") :])
