"""Two-sided edit of a classifier: the forget gradient between inverse Kronecker factors of the retain set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.modules import device_of, observing
from mnemotomy.curvature.ascent import Aim, Pull, SharedStart, TwoSidedRun, edited_copy
from mnemotomy.curvature.kronecker import KroneckerFactors, check_damping
from mnemotomy.curvature.weight_gradients import Matrices, taken
from mnemotomy.data.examples import Examples
from mnemotomy.engram.sites.base import WeightAndBias
from mnemotomy.methods.base import OURS
from mnemotomy.methods.classifiers.classifier import logits
from mnemotomy.methods.classifiers.curvature import factored_sites, kronecker_factors
from mnemotomy.methods.classifiers.problem import ClassifierMethod, Problem
from mnemotomy.methods.registry import register

EMPHASIS = 4
"""Exponent of the distance to the level in an example's weight, so that what is recognised best is pushed hardest."""
TOLERANCE = 0.1
"""How close to its aim a step must come, as a share of its way."""


@register(
    "two-sided",
    "Two-sided",
    OURS,
    family="closed form",
    cost="forwards and backwards: part of both sets, once per step",
    grid={"steps": (1, 2, 5), "overshoot": (0.3, 0.6)},
)
class ClassifierTwoSided(ClassifierMethod):
    """``ΔW = η · G⁻¹ ∇L_forget A⁻¹``: a few natural-gradient steps in the metric of the retain set.

    A and G are the Kronecker factors of the retain set's Fisher matrix F, at every linear layer and every ungrouped
    convolution: the direction forgets at the least change, to second order, of the model's outputs on the retain set
    (Eq. 9 of arXiv 2606.14997, with the output factor that its Remark 6.2 leaves out). Each step is a closed form of
    its gradients.

    An example's *margin* is its class's logit minus the highest other logit; above 0, the example is recognised.
    ``L_forget`` is the sum of the log-odds of the examples' classes, each weighted by the ``EMPHASIS`` power of how far
    its margin lies above the level. A step's length takes the weighted margins its part of the way to the level. The
    level is below 0, because the examples that are read stand for all others of their class: it is the highest margin
    at the start times ``-overshoot``.

    From the second step on, the retain set's own gradient takes part (``Ascent.repairing``).

    Attributes:
        damping: δ, added to the eigenvalues of both factors in units of their means.
        steps: number of steps; the factors are computed once, before the first.
        overshoot: how far to go past the border, as a share of the highest margin.
        repair: ρ, the weight of repairing.
        read: the most examples of each set for factors and gradients, drawn at random.
        repairing: the most retained examples whose gradient repairs; different ones where there are enough.
        evaluations: the most lengths to try for a step.
        batch_size: of all passes.

    Raises:
        ConfigurationError: the model recognises no example to forget.
        NonFiniteError: the model breaks at every length tried.
    """

    damping: float = 0.05
    steps: int = 5
    overshoot: float = 0.3
    repair: float = 1.0
    read: int = 2000
    repairing: int = 1000
    evaluations: int = 4
    batch_size: int = 128

    def __post_init__(self) -> None:
        check_damping(self.damping)
        if min(self.steps, self.read, self.repairing, self.evaluations, self.batch_size) < 1:
            raise ConfigurationError("steps, read, repairing, evaluations and batch size are at least 1")
        if not self.repair >= 0.0 or not self.overshoot >= 0.0:
            raise ConfigurationError(f"repair and overshoot are at least 0, not {self.repair} and {self.overshoot}")

    def __call__(self, problem: Problem, shared: SharedStart | None = None) -> nn.Module:
        """As for every method; edits that differ in damping and repair alone are faster with a start they share."""
        settings = replace(self, damping=0.0, repair=0.0)
        with edited_copy(problem.model, factored_sites) as (model, sites):
            start = (shared or SharedStart()).of(problem, settings, lambda: _Start.of(self, problem, model, sites))
            _Run(self, model, sites, start).run()
        return model


@dataclass(frozen=True)
class _Start:
    """The unedited model's side of an edit, which neither damping nor repairs change.

    Attributes:
        forget, retain: what forgetting and repairing read.
        factors: of the retain set.
        level: of the margins, to reach.
    """

    forget: Examples
    retain: Examples
    factors: KroneckerFactors
    level: float

    @classmethod
    def of(
        cls, method: ClassifierTwoSided, problem: Problem, model: nn.Module, sites: Mapping[str, WeightAndBias]
    ) -> _Start:
        """Read both sets.

        Raises:
            ConfigurationError: the model recognises no example to forget.
        """
        forget = problem.forget.drawn(method.read, problem.seed)
        highest = float(_all_margins(model, forget, method.batch_size).max())
        if highest <= 0.0:
            raise ConfigurationError(
                f"two-sided: the model recognises none of the {len(forget)} examples to forget, so that nothing would "
                "change; give it examples that it recognises"
            )
        kept = problem.retain.drawn(method.read + method.repairing, problem.seed)
        factors = kronecker_factors(model, sites, kept[slice(0, method.read)], problem.seed, method.batch_size)
        return cls(forget, kept[slice(-method.repairing, None)], factors, -method.overshoot * highest)


class _Run(TwoSidedRun):
    """One edit in progress."""

    def __init__(
        self, method: ClassifierTwoSided, model: nn.Module, sites: Mapping[str, WeightAndBias], start: _Start
    ) -> None:
        super().__init__(method.steps, method.damping, method.repair)
        self.method, self.model, self.factors, self.level = method, model, start.factors, start.level
        self.forget, self.retain = start.forget, start.retain
        self.sites = {name: sites[name] for name in self.factors.sites}

    def pull(self, number: int) -> Pull | None:
        margins = self.margins()
        self.weights = self._weights(margins)
        self.total = float(self.weights.sum())
        if not self.total > 0.0:
            return None
        start = -float((self.weights * margins).sum()) / self.total
        way = (-self.level - start) / (self.steps - number)

        def aim(slope: float) -> Aim:
            return Aim(start + way, TOLERANCE * way, self.method.evaluations, way * self.total / slope)

        return Pull(self._gradient(self.forget, self._log_odds), aim)

    def retaining(self) -> Matrices:
        return self._gradient(self.retain, partial(nn.functional.cross_entropy, reduction="sum"))

    def value(self) -> float:
        """How far the margins have fallen, with the step's weights."""
        return -float((self.weights * self.margins()).sum()) / self.total

    def reached(self, value: float) -> None:
        """Nothing to keep: the next step reads the margins again."""

    def margins(self) -> Float[Tensor, " n"]:
        """The forget set's current margins."""
        return _all_margins(self.model, self.forget, self.method.batch_size)

    def _weights(self, margins: Tensor) -> Tensor:
        return (margins - self.level).clamp_min(0.0) ** EMPHASIS

    def _log_odds(self, found: Tensor, labels: Tensor) -> Tensor:
        """Minus the weighted log-odds of the examples' classes."""
        weights = self._weights(_margins(found.detach(), labels))
        others = found.scatter(1, labels[:, None], -torch.inf)
        return -(weights * (_own(found, labels) - others.logsumexp(1))).sum()

    def _gradient(self, examples: Examples, loss: Callable[[Tensor, Tensor], Tensor]) -> Matrices:
        device = device_of(self.model)
        self.model.zero_grad(set_to_none=True)
        for batch in examples.batches(self.method.batch_size):
            loss(logits(self.model, batch.inputs.to(device)).float(), batch.labels.to(device).long()).backward()
        return taken(self.model, self.sites)


def _all_margins(model: nn.Module, examples: Examples, batch_size: int) -> Float[Tensor, " n"]:
    device = device_of(model)
    with observing(model):
        return torch.cat([
            _margins(logits(model, batch.inputs.to(device)), batch.labels.to(device)).cpu()
            for batch in examples.batches(batch_size)
        ])  # fmt: skip


def _own(found: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    return found.gather(1, labels[:, None].long())[:, 0]


def _margins(found: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The logit of each example's class minus the highest other logit."""
    return _own(found, labels).float() - found.scatter(1, labels[:, None].long(), -torch.inf).amax(1).float()
