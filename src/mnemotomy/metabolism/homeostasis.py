"""Homeostatic repair: staying near the frozen reference (Algorithm 1, step 4)."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor


def kl_to_reference(
    reference: Float[Tensor, "n length vocabulary"],
    logits: Float[Tensor, "n length vocabulary"],
    counted: Bool[Tensor, "n length"],
) -> Tensor:
    """``L_KL = KL(softmax(ref) ‖ softmax(θ))``, the mean over the counted positions.

    The paper leaves open over what it averages; the mean over tokens keeps λ_KL independent of the length.
    """
    teacher = reference[counted].float().log_softmax(-1)
    student = logits[counted].float().log_softmax(-1)
    return (teacher.exp() * (teacher - student)).sum(-1).mean()
