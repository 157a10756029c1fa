"""Trained models for the cases: the same examples, network and seed are trained once.

The only file of this bench that knows how a network is made and trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from mnemotomy.core.fingerprints import digest, fingerprint
from mnemotomy.core.keys import key
from mnemotomy.data.examples import Examples
from mnemotomy_bench.classwise.cases import Case
from mnemotomy_bench.lab.resources import Usage
from mnemotomy_bench.vision.examples import source
from mnemotomy_bench.vision.images import load_images
from mnemotomy_bench.vision.networks.build import build_classifier
from mnemotomy_bench.vision.recipes import Recipe, recipe_for
from mnemotomy_bench.vision.training import train_classifier


def load_superclasses(data: str, folder: Path | None) -> dict[str, tuple[int, ...]]:
    """CIFAR-100's classes by superclass, from its coarse labels; nothing for other data."""
    if data != "cifar100":
        return {}
    found = source(data, folder)
    fine, coarse = (load_images(found, "test", label_column=column) for column in ("fine_label", "coarse_label"))
    return {
        name: tuple(fine.labels[coarse.labels == number].unique().tolist())
        for number, name in enumerate(coarse.class_names)
    }


def fresh(case: Case, seed: int, shape: Sequence[int], classes: int) -> nn.Module:
    """The case's network for images of this shape, untrained.

    Raises:
        ConfigurationError: there is no such network.
    """
    return build_classifier(case.network, case.data, shape, classes, width=case.width or 1.0, seed=seed)


def train(case: Case, seed: int, model: nn.Module, examples: Examples, folder: Path) -> tuple[nn.Module, Usage]:
    """``model`` trained on ``examples``, and the cost of the training, when it was done.

    Args:
        case: whose recipe it is.
        seed: of the order of the examples.
        model: trained in place.
        examples: every epoch sees all of them.
        folder: where trained models are kept; they are reused.
    """
    path = folder / f"{_key(case, seed, model, examples)}.safetensors"
    return model, train_classifier(model, examples, recipe(case), seed=seed, path=path)


def recipe(case: Case) -> Recipe:
    """How the case's network is trained.

    Raises:
        ConfigurationError: there is no recipe for this network on this data.
    """
    return case.recipe or recipe_for(case.network, case.data)


def _key(case: Case, seed: int, model: nn.Module, examples: Examples) -> str:
    data = [digest(examples.inputs), digest(examples.labels)]
    return key(case.network, case.width, recipe(case), seed, fingerprint(model), data)
