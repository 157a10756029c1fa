"""Random Label and SalUn: train on everything, with wrong labels on the forget set."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import cross_entropy
from mnemotomy.methods.classifiers.gradient import LEARNING_RATES, ClassifierGradientMethod, Mask
from mnemotomy.methods.classifiers.problem import Problem
from mnemotomy.methods.registry import register
from mnemotomy.training.optimiser import trained_parameters


@register(
    "random-label", "Random Label", "Golatkar et al. 2020, Eternal Sunshine of the Spotless Net; Hayase et al. 2020"
)
class RandomLabel(ClassifierGradientMethod):
    """``E_{X⁻} L_CE(y) + E_{X⁺} L_CE(y_rand)`` on the combined data (Appendix B.4.1 of arXiv 2606.14997).

    Both sets are shuffled together, each example once per epoch. ``y_rand`` is uniform over the other classes and
    drawn anew in every epoch, because a fixed draw would be memorised.
    """

    def __call__(self, problem: Problem) -> nn.Module:
        inputs = torch.cat([problem.forget.inputs, problem.retain.inputs])

        def epoch(generator: torch.Generator) -> Iterator[Examples]:
            wrong = other_labels(problem.forget.labels, problem.classes, generator)
            return Examples(inputs, torch.cat([wrong, problem.retain.labels])).batches(self.batch_size, generator)

        return self.train(problem, epoch, cross_entropy, self.mask(problem))

    def mask(self, problem: Problem) -> Mask | None:
        """Where parameters may change; None for everywhere."""
        return None


def other_labels(labels: Int[Tensor, " n"], classes: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """For each label, one of the other classes, all equally likely."""
    shift = torch.randint(1, classes, labels.shape, generator=generator).to(labels.device)
    return (labels + shift) % classes


@register(
    "salun",
    "SalUn",
    "Fan et al. 2024, SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency",
    grid={"learning_rate": LEARNING_RATES, "sparsity": (0.5,)},
)
class SalUn(RandomLabel):
    """``μ ← μ − η (M ⊙ ∇L_Rand)`` (Appendix B.4.1 of arXiv 2606.14997).

    ``M`` keeps the share ``1 − sparsity`` of all parameters with the largest ``|∇ L_CE(X⁺)|``; the others stay exactly
    as they are.

    Raises:
        ConfigurationError: the sparsity is not in [0, 1).
    """

    sparsity: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.sparsity < 1.0:
            raise ConfigurationError(f"sparsity is in [0, 1), not {self.sparsity}")

    def mask(self, problem: Problem) -> Mask:
        return saliency_mask(copy.deepcopy(problem.model), problem.forget, 1.0 - self.sparsity, self.batch_size)


def saliency_mask(model: nn.Module, forget: Examples, share: float, batch_size: int = 128) -> Mask:
    """True at the ``share`` of the trained parameters with the largest gradient of the forget set's mean loss.

    The gradient is taken in evaluation mode, so that the forget set's own statistics do not enter it.

    Raises:
        TrainingError: there is nothing to train.
    """
    model.eval()
    parameters = trained_parameters(model, "salun")
    model.zero_grad()
    for batch in forget.batches(batch_size):
        (cross_entropy(model, batch) * len(batch)).backward()
    saliency = torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.abs().flatten() for p in parameters.values()]
    )
    model.zero_grad()
    kept = torch.zeros_like(saliency, dtype=torch.bool)
    kept[saliency.topk(round(share * len(saliency))).indices] = True
    parts = kept.split([parameter.numel() for parameter in parameters.values()])
    return {name: part.view_as(p) for (name, p), part in zip(parameters.items(), parts, strict=True)}
