"""Checkpoints of a training run: trained weights, optimiser, random state and progress."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mnemotomy.core.errors import ArtifactError, TrainingError
from mnemotomy.core.files import replacing_folder
from mnemotomy.core.integrity import checked_folder, write_checksums
from mnemotomy.core.json_text import read_json
from mnemotomy.core.modules import device_of
from mnemotomy.core.printable import one_line

CHECKPOINT = "checkpoint"
"""The folder of the checkpoint in the folder of a run."""

STATE = "state.json"
"""The file of its progress."""

LAYOUT = 2
"""The version of the files in it."""


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often a run is saved.

    Attributes:
        folder: of the checkpoint; each one replaces the last.
        key: of everything the steps depend on; a checkpoint with another key is refused.
        every: epochs between checkpoints.
        last: whether to save after the last epoch too, for a caller with more to do before the result is safe.
        verify: whether to check the files against their hashes.
    """

    folder: Path
    key: str
    every: int = 1
    last: bool = True
    verify: bool = True


@dataclass(frozen=True)
class Progress:
    """How far a run is: epochs and updates done, and the seconds they took."""

    epochs: int = 0
    updates: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class State:
    """What changes during a run.

    Attributes:
        module: contains everything that is trained.
        optimizer, schedule: of the run.
        generator: of the draws; its state is kept from epoch to epoch.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None
    generator: torch.Generator

    def save(self, checkpoints: Checkpoints, progress: Progress) -> None:
        """Write all of the checkpoint or nothing."""
        with replacing_folder(checkpoints.folder) as temporary:
            tensors = {name: value.contiguous() for name, value in trained_state(self.module).items()}
            save_file(tensors, temporary / "parameters.safetensors")
            try:
                torch.save(self._rest(), temporary / "optimizer.pt")
            except RuntimeError as error:  # torch raises no OSError
                raise TrainingError(f"cannot write {checkpoints.folder}: {one_line(error)[:120]}") from error
            record = {"run": checkpoints.key, "layout": LAYOUT, **vars(progress)}
            (temporary / STATE).write_text(json.dumps(record), encoding="utf-8")
            write_checksums(temporary)

    def load(self, checkpoints: Checkpoints) -> Progress:
        """Restore the checkpoint if there is one, and return its progress.

        Raises:
            TrainingError: the checkpoint is of a run with another configuration, model or data, or is damaged.
        """
        folder = checkpoints.folder
        check_checkpoint(folder, checkpoints.key)
        progress = progress_of(folder)
        if not progress.epochs:
            return progress
        try:
            # checked before anything changes, and while one file is read, which leaves the second core free
            with _verified(folder, lambda name: name != STATE) if checkpoints.verify else nullcontext():
                rest = _plain(folder / "optimizer.pt")
            self._restore(load_file(folder / "parameters.safetensors"), rest)
        except TrainingError:
            raise
        except Exception as error:  # one without checksums may contain anything
            raise TrainingError(f"{folder} is damaged ({one_line(error)[:200]}); delete it to start again") from error
        return progress

    def _restore(self, parameters: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
        restore_state(self.module, parameters)
        self.optimizer.load_state_dict(rest["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(rest["schedule"])
        self.generator.set_state(rest["generator"])
        torch.set_rng_state(rest["random"])
        if "cuda" in rest and self._device.type == "cuda":
            torch.cuda.set_rng_state(rest["cuda"], self._device)

    def _rest(self) -> dict[str, Any]:
        """Everything but the weights."""
        found = {
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
        }
        if self.schedule is not None:
            found["schedule"] = self.schedule.state_dict()
        if self._device.type == "cuda":
            found["cuda"] = torch.cuda.get_rng_state(self._device)
        return found

    @property
    def _device(self) -> torch.device:
        return device_of(self.module)


def _plain(path: Path) -> dict[str, Any]:
    """The tensors and numbers in a file of torch, which neither holds code nor grows on unpacking."""
    with zipfile.ZipFile(path) as archive:
        if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
            raise ValueError(f"{path.name} is compressed, which torch never does")
    try:
        return dict(torch.load(path, weights_only=True, map_location="cpu"))
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path.name} contains more than tensors and numbers, which could be code") from error


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """A copy, on the CPU, of every parameter that is trained and every buffer of the state dict."""
    kept = set(module.state_dict())
    found: dict[str, Tensor] = {name: p for name, p in module.named_parameters() if p.requires_grad}
    found |= {name: value for name, value in module.named_buffers() if name in kept}
    return {name: value.detach().cpu().clone() for name, value in found.items()}


def restore_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Restore what ``trained_state`` copied."""
    present = dict(module.named_parameters()) | dict(module.named_buffers())
    with torch.no_grad():
        for name, value in state.items():
            present[name].copy_(value)


def check_checkpoint(folder: Path, key: str) -> None:
    """Refuse a damaged checkpoint, or one of a run with another configuration, model or data.

    Raises:
        TrainingError: the checkpoint is refused.
    """
    state = _state(folder)
    if state and (state["run"] != key or state.get("layout") != LAYOUT):
        raise TrainingError(
            f"{folder} is the checkpoint of a run with another configuration, model or facts; delete it, or train into "
            "another folder"
        )


def progress_of(folder: Path) -> Progress:
    """The progress of the checkpoint in ``folder``."""
    state = _state(folder)
    found = {name: state[name] for name in ("epochs", "updates", "seconds")} if state.get("layout") == LAYOUT else {}
    return Progress(**found)


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a run whose result is saved; the log stays."""
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)


def _state(folder: Path) -> dict[str, Any]:
    path = folder / STATE
    with _verified(folder, lambda name: name == STATE) as sealed:
        pass
    if not path.is_file():
        return {}
    try:
        state = dict(read_json(path.read_text(encoding="utf-8")))
        numbers = [state[name] for name in ("epochs", "updates", "seconds")] if state.get("layout") == LAYOUT else []
        if not all(isinstance(one, int | float) and one >= 0 for one in numbers) or not isinstance(state["run"], str):
            raise ValueError("a number of its progress is missing")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"{path} is damaged ({error}); delete {folder} to start again") from error
    if not sealed and state.get("layout") == LAYOUT:
        warnings.warn(
            f"{folder} was written by an older version, without hashes of its files; damage would go unnoticed",
            stacklevel=4,
        )
    return state


@contextmanager
def _verified(folder: Path, concerned: Callable[[str], bool]) -> Iterator[bool]:
    try:
        with checked_folder(folder, concerned) as sealed:
            yield sealed
    except ArtifactError as error:
        raise TrainingError(f"{error}; delete {folder} to start again") from error
