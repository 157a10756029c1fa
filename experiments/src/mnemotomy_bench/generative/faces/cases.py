"""Which faces are learned by which network, and what is read of them, by scale."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.data.images import VARIABLE
from mnemotomy_bench.generative.faces.dataset import ATTRIBUTES
from mnemotomy_bench.vision.networks.wasserstein_autoencoder import LATENT, WIDTH

ALPHAS = (-2 / 3, -1 / 3, 0.0, 1 / 3, 2 / 3, 1.0, 4 / 3)
"""Fig. 15: above 0 the attribute is taken away, below 0 it is amplified."""

TOY, CELEBA = "toy", "celeba"
CELEBA_ATTRIBUTES = ("Eyeglasses", "Goatee", "Wearing_Hat", "Bangs")


@dataclass(frozen=True)
class FaceCase:
    """One autoencoder, the classifier that reads its images, and what is read.

    Attributes:
        name: of the case, in records and file names.
        data: ``toy``, or what the photographs are called.
        attributes: the concepts; the first two are those of Eq. 8.
        seeds: of the autoencoders. The faces and the classifier are the same for all of them.
        side: of the images in pixels.
        width: channels of the autoencoder's first convolution.
        latent: dimension of its code.
        train: so many faces are learned; None for the whole training split of a folder.
        validation: settings are chosen on so many further faces.
        test: results are of so many further faces.
        epochs: of the autoencoder.
        batch_size: of both trainings.
        learning_rate: the highest of Adam's, in one cycle.
        penalty: λ of the autoencoder.
        classified: the classifier learns so many faces of its own; of a folder, another part of the training split.
        classifier_width: channels of its first convolution.
        classifier_epochs: of its training.
        collected: engrams are collected from so many of the training faces; None for all.
        shown: rows of the picture grids, per attribute.
        folder: of photographs, as parquet files; None for faces that are drawn.
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


TINY = FaceCase(
    "toy-faces-tiny", side=32, width=8, latent=32, train=1024, validation=64, test=64, epochs=20,
    classified=640, classifier_width=12, classifier_epochs=18, collected=256,
)  # fmt: skip
SMALL = FaceCase("toy-faces", seeds=(0, 1, 2), width=16, collected=256)
PAPER = FaceCase(
    "toy-faces-paper", seeds=(0, 1, 2, 3, 4), train=32_768, validation=1024, test=1024, epochs=50,
    classified=16_384, classifier_width=32, classifier_epochs=20, collected=4096,
)  # fmt: skip
CELEBA_PAPER = FaceCase(
    "celeba", CELEBA, CELEBA_ATTRIBUTES, seeds=(0, 1, 2, 3, 4), train=None, validation=4096, test=4096, epochs=60,
    learning_rate=1e-3, classified=40_000, classifier_width=32, classifier_epochs=20, collected=20_000,
)  # fmt: skip

_CASES: dict[str, tuple[FaceCase, ...]] = {"tiny": (TINY,), "small": (SMALL,), "paper": (PAPER, CELEBA_PAPER)}


def face_cases(scale: str, data: Path | None = None) -> tuple[FaceCase, ...]:
    """The cases of a scale; CelebA only where there is a folder ``celeba``.

    Args:
        scale: ``tiny``, ``small`` or ``paper``.
        data: the folder of data sets; ``MNEMOTOMY_DATA`` where not given.

    Raises:
        ConfigurationError: there is no such scale.
    """
    if scale not in _CASES:
        raise ConfigurationError(f"there is no scale {scale!r}; choose among {', '.join(_CASES)}")
    root = data or Path(os.environ.get(VARIABLE, "."))
    found = [case if case.data == TOY else replace(case, folder=root / case.data) for case in _CASES[scale]]
    return tuple(case for case in found if case.folder is None or case.folder.is_dir())
