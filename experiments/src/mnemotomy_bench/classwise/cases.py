"""What is unlearned from what: data, network, class, seeds and grids, by scale."""

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


CASES = Cases("classwise", Case)


def cases(scale: str, seeds: Sequence[int] | None = None, data: Path | None = None) -> dict[str, Case]:
    """The cases of a scale by name; CIFAR-100 only where its folder is.

    Raises:
        ConfigurationError: there is no such scale.
    """
    folder = Path(os.environ.get(VARIABLE, ".")) if data is None else data
    return {
        case.name: case for case in CASES.at(scale, seeds) if case.data != "cifar100" or (folder / case.data).is_dir()
    }
