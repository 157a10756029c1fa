"""Checkpoints of a training run: what is trained, the optimiser, and where it stood."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mnemotomy.core.errors import TrainingError
from mnemotomy.core.files import replacing_folder

CHECKPOINT = "checkpoint"
"""The folder of it in the folder of a run."""


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter that is trained, on the CPU."""
    return {name: p.detach().cpu().clone() for name, p in module.named_parameters() if p.requires_grad}


def restore_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put back what `trained_state` copied."""
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, value in state.items():
            parameters[name].copy_(value)


def run_key(description: Any) -> str:
    """A hash of all that the steps of a run depend on."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def save_checkpoint(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, step: int, key: str, seconds: float = 0.0
) -> None:
    """Write the state after ``step`` steps, which took ``seconds`` so far, all of it or nothing."""
    with replacing_folder(folder) as temporary:
        save_file(trained_state(module), temporary / "parameters.safetensors")
        torch.save(optimizer.state_dict(), temporary / "optimizer.pt")
        (temporary / "state.json").write_text(
            json.dumps({"step": step, "run": key, "seconds": seconds}), encoding="utf-8"
        )


def check_checkpoint(folder: Path, key: str) -> None:
    """Refuse a checkpoint of a run with another configuration, model or data.

    Raises:
        TrainingError: it is such a one.
    """
    state = _state(folder)
    if state and state["run"] != key:
        raise TrainingError(
            f"{folder} is the checkpoint of a run with another configuration, model or facts; delete it, or train into "
            "another folder"
        )


def load_checkpoint(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, key: str) -> int:
    """Put back the state of `save_checkpoint`, and return its step; 0 where there is none.

    Raises:
        TrainingError: the checkpoint is of a run with another configuration, model or data.
    """
    check_checkpoint(folder, key)
    state = _state(folder)
    if not state:
        return 0
    restore_state(module, load_file(folder / "parameters.safetensors"))
    optimizer.load_state_dict(torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu"))
    return int(state["step"])


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a run whose result is saved; the log stays."""
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)


def seconds_before(folder: Path) -> float:
    """What the steps of the checkpoint in ``folder`` took; 0 where there is none."""
    return float(_state(folder).get("seconds", 0.0))


def _state(folder: Path) -> dict[str, Any]:
    path = folder / "state.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
