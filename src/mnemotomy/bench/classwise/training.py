"""Trained models for the cases: the same examples, network and seed are trained once.

The only file of this bench that knows how a network is made and trained.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mnemotomy.bench.classwise.cases import Case
from mnemotomy.bench.classwise.resources import Usage, measured
from mnemotomy.data.images import DIGITS, data_folder, load_images
from mnemotomy.errors import ConfigurationError
from mnemotomy.files import replacing_file, write_text
from mnemotomy.methods.classifier import cross_entropy
from mnemotomy.methods.problem import Examples
from mnemotomy.models import device_of

WIDTH, EPOCHS = 256, 30
PIXELS = {"digits": 64, "mnist": 784}


@functools.lru_cache(maxsize=4)
def load_examples(data: str, split: str, folder: Path | None) -> tuple[Examples, tuple[str, ...]]:
    """The images of one split as networks read them, and the names of the classes; shared between calls.

    Raises:
        DataError: the data is not there, or damaged.
    """
    images = load_images(_source(data, folder), split)
    return Examples(images.inputs.float() / 255, images.labels), images.class_names


@functools.lru_cache(maxsize=4)
def load_superclasses(data: str, folder: Path | None) -> dict[str, tuple[int, ...]]:
    """CIFAR-100's classes by superclass, from its coarse labels; nothing for other data."""
    if data != "cifar100":
        return {}
    source = _source(data, folder)
    fine, coarse = (load_images(source, "test", label_column=column) for column in ("fine_label", "coarse_label"))
    return {
        name: tuple(fine.labels[coarse.labels == number].unique().tolist())
        for number, name in enumerate(coarse.class_names)
    }


def fresh(case: Case, seed: int, classes: int) -> nn.Module:
    """The case's network, untrained.

    Raises:
        ConfigurationError: there is no such network.
    """
    if case.network != "mlp" or case.data not in PIXELS:
        raise ConfigurationError(
            f"there is no network {case.network!r} for {case.data} yet; choose the case with an MLP"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            *(nn.Flatten(), nn.Linear(PIXELS[case.data], WIDTH), nn.ReLU()),
            *(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes)),
        )


def train(case: Case, seed: int, model: nn.Module, examples: Examples, folder: Path) -> tuple[nn.Module, Usage]:
    """``model`` trained on ``examples``, and what the training cost when it was done.

    Args:
        case: whose recipe it is.
        seed: of the order of the examples.
        model: trained in place.
        examples: all of them are seen in every epoch.
        folder: where trained models are kept; what is there is not trained again.
    """
    path = folder / f"{_key(case, seed, examples)}.safetensors"
    if path.is_file() and path.with_suffix(".json").is_file():
        model.load_state_dict(load_file(path))
        return model.eval(), Usage(**json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with measured(device_of(model)) as usage:
        for _ in range(training_epochs(case)):
            for batch in examples.batches(64, generator):
                optimizer.zero_grad()
                cross_entropy(model, batch).backward()
                optimizer.step()
    optimizer.zero_grad()
    with replacing_file(path) as temporary:
        save_file(model.state_dict(), temporary)
    write_text(path.with_suffix(".json"), json.dumps(vars(usage)))
    return model.eval(), usage


def training_epochs(case: Case) -> int:
    """How often the original training sees each example."""
    return case.epochs or EPOCHS


def _source(data: str, folder: Path | None) -> str | Path:
    if data == DIGITS:
        return DIGITS
    return folder / data if folder else data_folder(data)


def _key(case: Case, seed: int, examples: Examples) -> str:
    content = hashlib.sha256(repr((case.network, case.width, training_epochs(case), seed)).encode())
    for tensor in (examples.inputs, examples.labels):
        content.update(tensor.cpu().contiguous().numpy().data)
    return content.hexdigest()[:16]
