"""The truth ratio: how likely false answers are beside the true one."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from mnemotomy.metrics.tofu.probability import GUARD, average_loss, grouped, probability
from mnemotomy.observe.answers import AnswerObservations


def truth_ratio(true: AnswerObservations, perturbed: AnswerObservations) -> Float[Tensor, " n"]:
    """``r = p(false) / (p(true) + 1e-10)``, p(false) the geometric mean over the false answers (Maini et al., Eq. 1).

    Args:
        true: of the paraphrased answers; of the answers where a split has no paraphrases.
        perturbed: of the false answers.

    Raises:
        DataError: the false answers do not belong to the true ones.
    """
    false = (-grouped(average_loss(perturbed), len(true)).mean(dim=1)).exp()
    return false / (probability(true) + GUARD)


def forget_truth_ratio(ratios: Float[Tensor, " n"]) -> float:
    """The mean of ``min(r, 1/(r + 1e-10))``, in [0, 1]: 1 where true and false are equally likely, as if never seen."""
    return float(ratios.minimum(1.0 / (ratios + GUARD)).mean())


def retain_truth_ratio(ratios: Float[Tensor, " n"]) -> float:
    """The mean of ``max(0, 1 − r)``, in [0, 1]: 1 where false answers are out of the question."""
    return float((1.0 - ratios).clamp(min=0.0).mean())
