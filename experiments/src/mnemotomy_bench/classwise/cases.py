"""What is unlearned from what: data, network, class, seeds and grids, by scale."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.data.images import VARIABLE
from mnemotomy.methods.classifiers.engram_automatic import ClassifierEngramAutomatic
from mnemotomy.methods.classifiers.gradient import LEARNING_RATES
from mnemotomy_bench.classwise.grids import Grid
from mnemotomy_bench.classwise.relearning import Relearning
from mnemotomy_bench.vision.recipes import QUICK, QUICK_VIT, Recipe

Scale = Literal["tiny", "small", "paper"]

CIFAR10 = {"animals": (2, 3, 4, 5, 6, 7), "vehicles": (0, 1, 8, 9)}
"""The superclasses of CIFAR-10's classes."""


@dataclass(frozen=True)
class Case:
    """One table: what is trained, and how it is made to forget and measured.

    Attributes:
        name: of the case, in records and file names.
        data: ``digits``, or the name of a folder in ``--data`` or ``MNEMOTOMY_DATA``.
        network: by its name in ``bench.vision``.
        width: of the network's layers, as a share of the published ones; None for all of it.
        recipe: of the original training; None for the published one of ``bench.vision``.
        forget: the class to forget.
        seeds: of the original and the retrained models.
        grid: what each method's search tries.
        superclasses: classes by superclass, where there are any.
        read: at most so many examples to forget, and of those retained, are read by metrics; None for all.
        test_images: at most so many test images are read; None for all.
        given: closed-form methods are given so many training examples; None for all.
        retained: gradient methods see at most so many of the examples retained, and all to forget; None for all.
        features: of so many examples to forget the features are clustered, with as many retained.
        subset_images: at most so many test images are read for each of the 2ⁿ − 1 subsets; None for all.
        bfloat16: gradient methods run under autocast, where the device has instructions for it.
        matrices_only: no table: every class and group erased in turn from the original models, nothing retrained.
        relearning: how relearning is tried.
        single: one thread, for networks so small that more only get into each other's way.
    """

    name: str
    data: str
    network: str
    width: float | None = None
    recipe: Recipe | None = None
    forget: int = 0
    seeds: tuple[int, ...] = (0,)
    grid: Grid = field(default_factory=Grid)
    superclasses: Mapping[str, Sequence[int]] = field(default_factory=dict)
    read: int | None = None
    test_images: int | None = None
    given: int | None = None
    retained: int | None = None
    features: int = 1000
    subset_images: int | None = None
    bfloat16: bool = False
    matrices_only: bool = False
    relearning: Relearning = field(default_factory=Relearning)
    single: bool = False


DIGITS = Case(
    "digits-mlp", "digits", "mlp", single=True, features=200,
    grid=Grid(
        rates=(0.1, 0.01, 0.001), batch_norm=False,
        values={
            "neggrad-plus": {"epochs": (10,)},
            "l1-sparse": {"gamma": (1e-5, 1e-4)},
            "engram-projector": {"threshold": (0.3, 0.5), "strength": (1.0, 1.4)},
        },
        automatic=ClassifierEngramAutomatic(excesses=(0.3, 0.7), strengths=(0.6, 0.8, 1.0, 1.2), read=500),
    ),
)  # fmt: skip
MNIST = Case(
    "mnist-mlp", "mnist", "mlp", seeds=(0, 1, 2), single=True, read=5000, subset_images=2000,
    grid=Grid(
        rates=(0.1, 0.01), epochs=5, batch_norm=False, collected=2500,
        values={
            "neggrad": {"learning_rate": LEARNING_RATES},
            "l1-sparse": {"gamma": (1e-5, 1e-4)},
            "engram-projector": {"threshold": (0.3, 0.5), "strength": (1.0, 1.4)},
        },
    ),
)  # fmt: skip
CIFAR10_QUARTER = Case(
    "cifar10-resnet18-quarter", "cifar10", "resnet18", width=0.25, recipe=QUICK, single=True, seeds=(0, 1, 2),
    superclasses=CIFAR10,
    read=2000, test_images=5000, given=2000, retained=20000, subset_images=100, bfloat16=True,
    grid=Grid(
        rates=(0.01, 0.001), epochs=1, collected=1000, fields_read=8,
        values={
            "neggrad": {"learning_rate": (0.01, 0.001, 3e-4, 1e-4)},
            "l1-sparse": {"gamma": (1e-5,)},
            "engram-grid": {"strength": (0.5, 0.6, 0.8, 1.0, 1.2, 1.4)},
            "engram-recalibrated": {"strength": (0.5, 0.8, 1.2)},
            "engram-projector": {"threshold": (0.3, 0.5), "strength": (1.0,)},
        },
        automatic=ClassifierEngramAutomatic(excesses=(0.4,), strengths=(0.7, 1.0, 1.4, 2.0), read=1000),
    ),
)  # fmt: skip
CIFAR10_VIT_SMALL = Case(
    "cifar10-vit-small", "cifar10", "vit", width=0.375, recipe=QUICK_VIT, single=True, superclasses=CIFAR10,
    test_images=5000, given=2000, matrices_only=True,
    grid=Grid(
        automatic=ClassifierEngramAutomatic(
            excesses=(0.1, 0.3, 0.5), strengths=(0.4, 0.6, 0.8, 1.0, 1.2), read=500,
        ),
    ),
)  # fmt: skip
MNIST_PAPER = Case(
    "mnist-mlp-paper", "mnist", "mlp", seeds=(0, 1, 2, 3, 4), subset_images=2000, grid=Grid(batch_norm=False),
)  # fmt: skip
CIFAR10_PAPER = Case(
    "cifar10-resnet18", "cifar10", "resnet18", seeds=(0, 1, 2, 3, 4), superclasses=CIFAR10, subset_images=2000,
    bfloat16=True,
)  # fmt: skip
CIFAR10_RESNET50 = replace(CIFAR10_PAPER, name="cifar10-resnet50", network="resnet50")
CIFAR100_PAPER = Case(
    "cifar100-resnet50", "cifar100", "resnet50", seeds=(0, 1, 2, 3, 4), bfloat16=True,
)  # fmt: skip
CIFAR100_RESNET18 = replace(CIFAR100_PAPER, name="cifar100-resnet18", network="resnet18")
CIFAR10_VIT = Case(
    "cifar10-vit", "cifar10", "vit", seeds=(0, 1, 2), superclasses=CIFAR10, matrices_only=True, bfloat16=True,
)  # fmt: skip

_CASES: dict[Scale, tuple[Case, ...]] = {
    "tiny": (DIGITS,),
    "small": (MNIST, CIFAR10_QUARTER, CIFAR10_VIT_SMALL),
    "paper": (MNIST_PAPER, CIFAR10_PAPER, CIFAR100_PAPER, CIFAR10_VIT, CIFAR10_RESNET50, CIFAR100_RESNET18),
}


def cases(scale: Scale, data: Path | None = None) -> dict[str, Case]:
    """The cases of a scale by name; CIFAR-100 only where its folder is.

    Raises:
        ConfigurationError: there is no such scale.
    """
    if scale not in _CASES:
        raise ConfigurationError(f"there is no scale {scale!r}; choose among {', '.join(_CASES)}")
    folder = Path(os.environ.get(VARIABLE, ".")) if data is None else data
    return {
        case.name: case for case in _CASES[scale] if case.data != "cifar100" or (folder / case.data).is_dir()
    }  # fmt: skip
