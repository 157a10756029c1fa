"""The cases by scale: data, network, class, seeds and grids."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

from pydantic.dataclasses import dataclass

from mnemotomy_bench.classwise.grids import Grid
from mnemotomy_bench.classwise.relearning import Relearning
from mnemotomy_bench.lab.cases import STRICT, Cases
from mnemotomy_bench.vision.images import VARIABLE
from mnemotomy_bench.vision.recipes import Recipe


@dataclass(frozen=True, config=STRICT)
class Case:
    """One table: what is trained, what is forgotten, and how it is measured.

    Attributes:
        name: of the case, in records and file names.
        data: ``digits``, or the name of a folder in ``--data`` or ``MNEMOTOMY_DATA``.
        network: by its name in ``bench.vision``.
        width: of the network's layers, as a share of the published width; None for all of it.
        recipe: of the original training; None for the published one of ``bench.vision``.
        forget: the class to forget.
        seeds: of the original and the retrained models.
        grid: what each method's search tries.
        superclasses: classes by superclass, if there are any.
        read: the most examples of the forget set, and of the retain set, that metrics read; None for all.
        test_images: the most test images that are read; None for all.
        given: how many training examples closed-form methods get; None for all.
        retained: the most retained examples that gradient methods see (with the whole forget set); None for all.
        features: how many examples of the forget set are clustered, with as many retained.
        subset_images: the most test images that are read for each of the 2ⁿ − 1 subsets; None for all.
        bfloat16: gradient methods run under autocast, if the device has instructions for it.
        matrices_only: no table: each class and group is erased from the original models, and nothing is retrained.
        relearning: settings of relearning.
        single: one thread, for networks so small that more threads slow them down.
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


CASES = Cases("classwise", Case)


def cases(scale: str, seeds: Sequence[int] | None = None, data: Path | None = None) -> dict[str, Case]:
    """The cases of a scale by name; CIFAR-100 only if its folder exists.

    Raises:
        ConfigurationError: there is no such scale.
    """
    folder = Path(os.environ.get(VARIABLE, ".")) if data is None else data
    return {
        case.name: case for case in CASES.at(scale, seeds) if case.data != "cifar100" or (folder / case.data).is_dir()
    }
