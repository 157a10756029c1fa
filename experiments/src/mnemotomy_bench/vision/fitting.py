"""A network that is trained once: kept with what its training cost, and gone on with after Ctrl-C."""

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
    """Train ``model`` in place, or load it where it was trained before; it is left in evaluation mode.

    Args:
        model: untrained.
        path: of the weights (``.safetensors``), named by everything that they depend on. What the training cost lies
            beside it as JSON; while it lasts, a ``.partial`` folder holds the last whole epoch.
        draw: the updates of an epoch, as for ``training.loop.train``.
        loss: of the model on an update.
        optimiser: of its parameters.
        epochs: how many.
        seed: of what is drawn and of dropout; the global random state is left as it was.
        name: of the progress bar, and in errors.

    Returns:
        What the training cost when it was done: the seconds of all whole epochs, the memory of the last session.

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
