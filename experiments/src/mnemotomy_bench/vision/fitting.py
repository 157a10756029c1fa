"""Training in epochs that survives Ctrl-C, and is not done twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mnemotomy.core.errors import TrainingError
from mnemotomy.core.files import output_file, write_text
from mnemotomy.core.modules import device_of
from mnemotomy.core.progress import progress_bar
from mnemotomy_bench.lab.resources import Usage, measured


class Stateful(Protocol):
    """An optimiser, a schedule: what training goes on from."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


def fit(
    model: nn.Module,
    path: Path,
    run_epoch: Callable[[int, torch.Generator], None],
    *,
    epochs: int,
    seed: int,
    state: Mapping[str, Stateful] | None = None,
    name: str = "training",
) -> Usage:
    """Train ``model`` in place, or load it where it was trained before; it is left in evaluation mode.

    Args:
        model: untrained.
        path: of the weights (``.safetensors``), named by everything that they depend on. What the training cost lies
            beside it as JSON; while it lasts, a ``.partial`` file holds the last whole epoch.
        run_epoch: trains one epoch, given its number from 0 and a generator that goes on from epoch to epoch.
        epochs: how many.
        seed: of the generator and of dropout; the global random state is left as it was.
        state: optimisers and schedules, saved and restored with the model.
        name: of the progress bar, and in errors.

    Returns:
        What the training cost when it was done: the seconds of all whole epochs, the memory of the last session.

    Raises:
        TrainingError: a parameter is no longer finite.
    """
    record, partial = path.with_suffix(".json"), path.with_suffix(".partial")
    if path.is_file() and record.is_file():
        model.load_state_dict(load_file(path))
        model.eval()
        return Usage(**json.loads(record.read_text(encoding="utf-8")))
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, Stateful] = {"model": model, **(state or {})}
    device, total = device_of(model), Usage()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        first = _restore(partial, parts, generator, total)
        with progress_bar(name, epochs) as advance, measured(device) as usage:
            advance(first)
            for epoch in range(first, epochs):
                start = time.perf_counter()
                model.train()
                run_epoch(epoch, generator)
                total.seconds += time.perf_counter() - start
                if not all(bool(torch.isfinite(value).all()) for value in model.parameters()):
                    raise TrainingError(
                        f"{name}: a parameter is no longer finite after epoch {epoch + 1}; train slower"
                    )
                _keep(partial, parts, generator, total, epoch + 1)
                advance(1)
    total.peak_bytes = usage.peak_bytes
    model.zero_grad()
    model.eval()
    with output_file(path) as temporary:
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, temporary)
    write_text(record, json.dumps(vars(total)))
    partial.unlink(missing_ok=True)
    return total


def _restore(partial: Path, parts: Mapping[str, Stateful], generator: torch.Generator, total: Usage) -> int:
    """The number of epochs that are done."""
    if not partial.is_file():
        return 0
    kept = torch.load(partial, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(kept[name])
    generator.set_state(kept["generator"])
    torch.set_rng_state(kept["random"])
    total.seconds = kept["seconds"]
    return int(kept["epochs"])


def _keep(partial: Path, parts: Mapping[str, Stateful], generator: torch.Generator, total: Usage, epochs: int) -> None:
    with output_file(partial) as temporary:
        torch.save(
            {name: part.state_dict() for name, part in parts.items()}
            | {
                "generator": generator.get_state(),
                "random": torch.get_rng_state(),
                "epochs": epochs,
                "seconds": total.seconds,
            },
            temporary,
        )
