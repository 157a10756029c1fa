"""The losses of the gradient methods, as pure functions of log-probabilities and logits.

Signs and factors are those of OpenUnlearning (Dorna et al. 2025), so that its hyperparameters keep their meaning.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Scalar = Float[Tensor, ""]
PerExample = Float[Tensor, " n"]


def _mean(values: Float[Tensor, " n"]) -> Scalar:
    """The mean, or a differentiable 0 without values: in a text of one token, nothing is predicted."""
    return values.mean() if len(values) else values.sum()


def negative_log_likelihood(log_probabilities: Float[Tensor, " tokens"]) -> Scalar:
    """``−mean log p`` over the tokens of a batch, in nats; long answers weigh more, as in transformers' own loss."""
    return -_mean(log_probabilities)


def preference_loss(margin: PerExample, beta: float) -> Scalar:
    """``−2/β · mean log σ(β · margin)``: DPO's loss with the factor of NPO (Zhang et al. 2024, Eq. 3).

    Args:
        margin: log-ratio of the preferred answer minus that of the other; a log-ratio is ``log π(y) − log π_ref(y)``.
            NPO has no preferred answer: its margin is minus the log-ratio of the answer to forget.
        beta: the inverse temperature; as it goes to 0, the gradient approaches plain ascent's.
    """
    return -2.0 / beta * nn.functional.logsigmoid(beta * margin).mean()


def simnpo_loss(log_probabilities: PerExample, lengths: PerExample, beta: float, delta: float) -> Scalar:
    """``−2/β · mean log σ(β (−log π(y) / |y| − δ))``: NPO with length in place of a reference (Fan et al. 2025, Eq. 4).

    Args:
        log_probabilities: of whole answers.
        lengths: their tokens.
        beta: the inverse temperature.
        delta: the margin; the paper's γ divided by its β.
    """
    return -2.0 / beta * nn.functional.logsigmoid(beta * (-log_probabilities / lengths - delta)).mean()


def undial_loss(
    logits: Float[Tensor, "tokens vocabulary"],
    reference: Float[Tensor, "tokens vocabulary"],
    targets: Int[Tensor, " tokens"],
    beta: float,
) -> Scalar:
    """Cross-entropy to the reference's answer with the target's logit lowered by ``β`` (Dong et al. 2025, Eq. 4)."""
    if not len(targets):
        return logits.float().sum()
    adjusted = reference.float().clone()
    adjusted[torch.arange(len(targets), device=targets.device), targets] -= beta
    return nn.functional.cross_entropy(logits.float(), adjusted.softmax(-1))


def activation_distance(states: Float[Tensor, "n length d"], aims: Tensor, counted: Bool[Tensor, "n length"]) -> Scalar:
    """The mean squared distance of hidden states: over dimensions, over counted positions, then over examples.

    Args:
        states: of the trained model.
        aims: their targets, broadcast to their shape.
        counted: positions that count; an example without any adds 0.
    """
    squared = (states.float() - aims.float()).square().mean(-1) * counted
    return (squared.sum(-1) / counted.sum(-1).clamp_min(1)).mean()
