"""A network that is trained once: kept with the cost of its training, and resumed after Ctrl-C."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn

from mnemotomy.core.files import output_file, write_text
from mnemotomy.core.modules import device_of
from mnemotomy.training.checkpoint import Checkpoints
from mnemotomy.training.loop import Draw, Loss, Part, Run, train
from mnemotomy.training.optimiser import Optimiser
from mnemotomy_bench.lab.resources import Usage, measured


def fit(
    model: nn.Module,
    path: Path,
    draw: Draw[Part],
    loss: Loss[Part],
    optimiser: Optimiser,
    *,
    epochs: int,
    seed: int,
    name: str = "training",
) -> Usage:
    """Train ``model`` in place, or load it if it was trained before; it is left in evaluation mode.

    Args:
        model: untrained.
        path: of the weights (``.safetensors``), named by everything that they depend on. The cost of training is next
            to it as JSON; during training, a ``.partial`` folder has the last whole epoch.
        draw: the updates of an epoch, as for ``training.loop.train``.
        loss: of the model on an update.
        optimiser: of its parameters.
        epochs: number of epochs.
        seed: of random draws and dropout; the global random state is not changed.
        name: of the progress bar, and in errors.

    Returns:
        The cost of training, when it was done: the seconds of all whole epochs, the memory of the last session.

    Raises:
        TrainingError: a loss or a parameter is no longer finite.
    """
    record, partial = path.with_suffix(".json"), path.with_suffix(".partial")
    if path.is_file() and record.is_file():
        model.load_state_dict(load_file(path))
        model.eval()
        return Usage(**json.loads(record.read_text(encoding="utf-8")))
    run = Run(name, epochs, seed=seed, checkpoints=Checkpoints(partial, path.stem))
    with measured(device_of(model)) as usage:
        outcome = train(model, draw, loss, optimiser, run)
    total = Usage(outcome.seconds, usage.peak_bytes)
    with output_file(path) as temporary:
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, temporary)
    write_text(record, json.dumps(vars(total)))
    shutil.rmtree(partial)
    return total
