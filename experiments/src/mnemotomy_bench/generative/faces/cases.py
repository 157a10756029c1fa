"""The networks of faces and how they are measured, by scale."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic.dataclasses import dataclass

from mnemotomy_bench.generative.faces.dataset import ATTRIBUTES
from mnemotomy_bench.lab.cases import STRICT, Cases
from mnemotomy_bench.vision.images import VARIABLE
from mnemotomy_bench.vision.networks.wasserstein_autoencoder import LATENT, WIDTH

ALPHAS = (-2 / 3, -1 / 3, 0.0, 1 / 3, 2 / 3, 1.0, 4 / 3)
"""Fig. 15: above 0 erases the attribute, below 0 amplifies it."""

TOY = "toy"


@dataclass(frozen=True, config=STRICT)
class FaceCase:
    """One autoencoder, the classifier that reads its images, and what is read.

    Attributes:
        name: of the case, in records and file names.
        data: ``toy``, or the name of the photographs.
        attributes: the concepts; the first two are those of Eq. 8.
        seeds: of the autoencoders. The faces and the classifier are the same for all of them.
        side: of the images in pixels.
        width: channels of the autoencoder's first convolution.
        latent: dimension of its code.
        train: number of training faces; None for the whole training split of a folder.
        validation: number of further faces to choose settings on.
        test: number of further faces that results are measured on.
        epochs: of the autoencoder.
        batch_size: of both trainings.
        learning_rate: the highest of Adam's, in one cycle.
        penalty: λ of the autoencoder.
        classified: number of separate faces for the classifier; in a folder, another part of the training split.
        classifier_width: channels of its first convolution.
        classifier_epochs: of its training.
        collected: how many training faces engrams are collected from; None for all.
        shown: rows of the picture grids, per attribute.
        folder: of photographs, as parquet files; None for drawn faces.
    """

    name: str
    data: str = TOY
    attributes: tuple[str, ...] = ATTRIBUTES
    seeds: tuple[int, ...] = (0,)
    side: int = 64
    width: int = WIDTH
    latent: int = LATENT
    train: int | None = 4096
    validation: int = 256
    test: int = 256
    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 2e-3
    penalty: float = 100.0
    classified: int = 4096
    classifier_width: int = 16
    classifier_epochs: int = 8
    collected: int | None = None
    shown: int = 2
    folder: Path | None = None


CASES = Cases("faces", FaceCase)


def face_cases(scale: str, seeds: Sequence[int] | None = None, data: Path | None = None) -> tuple[FaceCase, ...]:
    """The cases of a scale; CelebA only if there is a folder ``celeba``.

    Args:
        scale: ``tiny``, ``small`` or ``paper``.
        seeds: override those of the scale.
        data: the folder of data sets; ``MNEMOTOMY_DATA`` by default.

    Raises:
        ConfigurationError: there is no such scale.
    """
    root = data or Path(os.environ.get(VARIABLE, "."))
    found = [case if case.data == TOY else replace(case, folder=root / case.data) for case in CASES.at(scale, seeds)]
    return tuple(case for case in found if case.folder is None or case.folder.is_dir())
