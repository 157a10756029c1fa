"""The autoencoders of digits and how they are measured, by scale."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from mnemotomy_bench.lab.cases import STRICT, Cases
from mnemotomy_bench.vision.networks.conv_autoencoder import LATENT


@dataclass(frozen=True, config=STRICT)
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
        forget: the digit that the table is about; cheap methods erase every digit.
        collected: how many training images engrams are collected from; None for all.
        read: how many training images of each digit are read to choose strengths and learning rates.
        test_images: the most test images that are read; None for all.
        tuned_epochs: of fine-tuning on the other digits.
        thorough: whether NegGrad+ is run for every digit, not only for the one to forget.
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


CASES = Cases("digits", Case)
