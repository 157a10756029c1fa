"""Which autoencoder of digits is trained, and what is read of it, by scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mnemotomy.core.errors import ConfigurationError
from mnemotomy_bench.vision.networks.conv_autoencoder import LATENT

Scale = Literal["tiny", "small", "paper"]


@dataclass(frozen=True)
class Case:
    """One autoencoder and how its digits are erased.

    Attributes:
        name: of the case, in records and file names.
        data: ``digits``, or the name of a folder in ``--data`` or ``MNEMOTOMY_DATA``.
        latent: dimension of the code.
        epochs: of the original training.
        batch_size: of every training.
        learning_rate: of Adam, in the original training.
        seeds: of the original and the retrained models.
        forget: the digit that the table is about; what is cheap is done for every digit.
        collected: engrams are collected from so many training images; None for all.
        read: so many training images of each digit are read to choose strengths and learning rates.
        test_images: at most so many test images are read; None for all.
        tuned_epochs: of fine-tuning on the other digits.
        thorough: NegGrad+ is run for every digit, not only for the one to forget.
    """

    name: str
    data: str
    latent: int = LATENT
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    forget: int = 0
    collected: int | None = None
    read: int = 200
    test_images: int | None = None
    tuned_epochs: int = 5
    thorough: bool = False


DIGITS = Case(
    "digits-convae", "digits", latent=16, epochs=16, batch_size=16, learning_rate=3e-3, seeds=(0,), read=40,
)  # fmt: skip
"""16 dimensions: 64, the paper's, would be as many as there are pixels."""
MNIST = Case(
    "mnist-convae", "mnist", epochs=4, seeds=(0, 1, 2), collected=20_000, read=100, test_images=3000, tuned_epochs=1,
)  # fmt: skip
MNIST_PAPER = Case("mnist-convae-paper", "mnist", thorough=True)

_CASES: dict[Scale, Case] = {"tiny": DIGITS, "small": MNIST, "paper": MNIST_PAPER}


def case_of(scale: Scale) -> Case:
    """The autoencoder of digits at a scale.

    Raises:
        ConfigurationError: there is no such scale.
    """
    if scale not in _CASES:
        raise ConfigurationError(f"there is no scale {scale!r}; choose among {', '.join(_CASES)}")
    return _CASES[scale]
