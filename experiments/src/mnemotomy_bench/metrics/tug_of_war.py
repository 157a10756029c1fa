"""Tug-of-War: how close an unlearned model's accuracies are to a retrained model's (Zhao et al. 2024)."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from mnemotomy.core.errors import DataError


@dataclass(frozen=True)
class Accuracies:
    """A model's accuracy on the three sets that Tug-of-War compares, each a share in [0, 1].

    Attributes:
        forget: on the training examples to forget, ``X⁺``.
        retain: on the other training examples, ``X⁻``.
        test: on the whole test set, the forgotten classes included.

    Raises:
        DataError: one of them is not in [0, 1].
    """

    forget: float
    retain: float
    test: float

    def __post_init__(self) -> None:
        for value in astuple(self):
            if not 0.0 <= value <= 1.0:
                raise DataError(f"an accuracy is a share in [0, 1], not {value}; divide percentages by 100")


def tug_of_war(unlearned: Accuracies, retrained: Accuracies) -> float:
    """``ToW = Π (1 − |a(μᵘ, D) − a(μʳ, D)|)`` over forget, retain and test (Appendix B.4.1 of arXiv 2606.14997).

    In [0, 1]; 1 if the accuracies equal the retrained model's. Between models retrained with different seeds it is
    below 1, which is the most that a method can reach.
    """
    product = 1.0
    for ours, theirs in zip(astuple(unlearned), astuple(retrained), strict=True):
        product *= 1.0 - abs(ours - theirs)
    return product
