"""Two-sided edit: the gradient of what is to be forgotten, between the inverse Kronecker factors of what is to stay."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from torch import nn

from mnemotomy.core.errors import ConfigurationError, SelectionError
from mnemotomy.curvature.ascent import Aim, Pull, TwoSidedRun, edited_copy
from mnemotomy.curvature.kronecker import check_damping
from mnemotomy.curvature.weight_gradients import Matrices
from mnemotomy.engram.sites import Selector, select_sites
from mnemotomy.engram.sites.base import WeightAndBias
from mnemotomy.methods.base import OURS, SearchSpace
from mnemotomy.methods.language.collecting import some
from mnemotomy.methods.language.curvature import Curvature, Labels, linear
from mnemotomy.methods.language.forgetting import WeightedForgetLoss, loss_gradient
from mnemotomy.methods.language.lower_blocks import cached_lower_blocks
from mnemotomy.methods.language.problem import LanguageMethod, TextProblem, sequences
from mnemotomy.methods.language.target_level import Level, estimated_level, losses
from mnemotomy.methods.registry import register

TOLERANCE, WAYPOINT_TOLERANCE = 0.02, 0.1
"""How near to its aim the last step must come, and those before it, as a share of the level."""


@register
@dataclass(frozen=True)
class TwoSided(LanguageMethod):
    """``ΔW = η · G⁻¹ ∇L_forget A⁻¹``: a few natural-gradient steps in the metric of the retained set.

    A and G are the Kronecker factors of the retained set's Fisher matrix F: the direction raises the loss on the forget
    set at the least change, to second order, of what the model says on the retained one (Eq. 9 of the paper, with the
    output factor that its Remark 6.2 leaves out). No optimiser, no state: each step is a closed form of its gradients.
    ``L_forget`` is ``WeightedForgetLoss``: the log-odds in the first step, where what is memorised has hardly a
    gradient of its loss, and the loss after it, which leaves tokens that anyone could guess more as they are.

    From the second step on, the retained set's own gradient, by then no longer zero, takes part: with
    ``u = F⁻¹ ∇L_forget`` and ``v = F⁻¹ ∇L_retain``, the step goes along ``u / ‖u‖ − ρ v / ‖v‖`` in the metric F. At
    ρ = 1 that halves the angle between forgetting most and repairing most.

    The length of a step is searched for on forwards alone, until the mean loss has gone its part of the way to the
    level; the first length that is tried follows from the gradient, and is seldom far off.

    Attributes:
        damping: δ, added to the eigenvalues of both factors in units of their means.
        steps: how many; the factors are those of the first.
        repair: ρ.
        level: the mean loss per token to reach, in nats; None to estimate it (``unseen.estimated_level``).
        log_odds: whether the first step goes by the log-odds.
        factors: K-FAC, or EKFAC with eigenvalues of its own for each pair of eigenvectors.
        labels: of the Fisher matrix.
        smoothing: the share of them that are drawn from the whole vocabulary (``Curvature``); at 0 the probability that
            is taken from the forgotten goes to tokens that no retained text has, and answers become word salad.
        sites: which maps, by the PEFT convention; every linear one but the output head by default.
        layers: blocks; None for all but the lowest third, below which there is then nothing to go back through.
        read: the most retained examples that the factors are computed from, drawn at random.
        repairing: the most whose gradient repairs, drawn at random; others, as far as there are enough.
        search: the most forget examples that lengths are found on, drawn at random.
        evaluations: the most lengths that are tried for a step.

    Raises:
        ConfigurationError: a value is out of its range.
        NonFiniteError: the model's loss is finite at no length that is tried.
    """

    damping: float = 0.01
    steps: int = 2
    repair: float = 1.0
    level: float | None = None
    log_odds: bool = True
    factors: Literal["kfac", "ekfac"] = "kfac"
    labels: Labels = "sampled"
    smoothing: float = 0.5
    sites: Selector = "all-linear"
    layers: Sequence[int] | None = None
    read: int = 100
    repairing: int = 200
    search: int = 20
    evaluations: int = 6

    name: ClassVar = "two-sided"
    title: ClassVar = "Two-sided"
    paper: ClassVar = OURS
    family: ClassVar = "closed form"
    draws: ClassVar = True
    cost: ClassVar = "forwards and backwards: part of the retained set and the forget set, once per step"
    search_space: ClassVar = SearchSpace({"damping": (0.002, 0.01, 0.05)})

    def __post_init__(self) -> None:
        check_damping(self.damping)
        Curvature(self.labels, self.factors, smoothing=self.smoothing)  # its own check, before any work is done
        if min(self.steps, self.read, self.repairing, self.search, self.evaluations) < 1:
            raise ConfigurationError("steps, evaluations, and the examples of each kind are at least 1")
        if not self.repair >= 0.0:
            raise ConfigurationError(f"repair is at least 0, not {self.repair}")
        if self.level is not None and not self.level > 0.0:
            raise ConfigurationError(f"a level is a loss above 0, not {self.level}")

    def __call__(self, problem: TextProblem) -> nn.Module:
        level = estimated_level(problem, self.search) if self.level is None else Level(self.level, problem)
        with (
            edited_copy(problem.model, self.linear_sites) as (model, sites),
            cached_lower_blocks(model, sites),
        ):
            run = _Run(self, problem, model, sites, level)
            run.run()
            if run.now < level.start * (1.0 - WAYPOINT_TOLERANCE):
                warnings.warn(
                    f"two-sided: the loss on the forget set has reached {run.now:.2f} of {level.start:.2f} nats; take "
                    "a smaller damping, or more steps or evaluations",
                    stacklevel=2,
                )
        return model

    def linear_sites(self, model: nn.Module) -> dict[str, WeightAndBias]:
        """The layers that are edited.

        Raises:
            SelectionError: a name or a block is not in the model, or is no linear layer, or is the output head.
        """
        layers = self.layers
        if layers is None:
            blocks = {site.layer for site in select_sites(model, self.sites).values() if site.layer is not None}
            layers = sorted(blocks)[len(blocks) // 3 :] or None
        found = linear(select_sites(model, self.sites, layers))
        head = cast(Any, model).get_output_embeddings()
        for name, site in found.items():
            if site.module is head:
                raise SelectionError(f"the two-sided edit is of layers below the output head; leave {name!r} out")
        return found


class _Run(TwoSidedRun):
    """One edit under way."""

    def __init__(
        self, method: TwoSided, problem: TextProblem, model: nn.Module, sites: dict[str, WeightAndBias], level: Level
    ) -> None:
        super().__init__(method.steps, method.damping, method.repair)
        self.method, self.problem, self.model, self.level = method, problem, model, level
        self.forget = sequences(problem, problem.forget)
        drawn = some(problem.retain, method.read + method.repairing, problem.seed)
        read, self.retain = (sequences(problem, part) for part in (drawn[: method.read], drawn[-method.repairing :]))
        self.tried = sequences(problem, some(problem.forget, method.search, problem.seed))
        settings = Curvature(method.labels, method.factors, problem.seed, method.smoothing)
        self.factors = settings.collect(model, sites, read, problem.tokenizer)
        self.sites = {name: sites[name] for name in self.factors.sites}  # not the vision tower of a model of texts
        self.now = self._loss()
        self.rises = {self.now: 0.0}  # before the edit the level has not risen

    def pull(self, number: int) -> Pull | None:
        if self.now >= self.level.start:
            return None
        level = self.level.start + self.rises[self.now]
        below = WeightedForgetLoss(level, log_odds=self.method.log_odds and number == 0)
        forgetting = below.gradient(self.model, self.sites, self.forget, self.problem.tokenizer)
        share = 1.0 / (self.steps - number)
        last = number + 1 == self.steps

        def aim(slope: float) -> Aim:
            return Aim(
                self.now + share * (self.level.start - self.now),
                self.level.start * (TOLERANCE if last else WAYPOINT_TOLERANCE),
                self.method.evaluations,
                share * forgetting.gap * forgetting.tokens / slope,
            )

        return Pull(forgetting.gradients, aim)

    def retaining(self) -> Matrices:
        return loss_gradient(self.model, self.sites, self.retain, self.problem.tokenizer)

    def value(self) -> float:
        """The mean loss of the forget set by now, without what the level has risen by."""
        rise = self.level.rise(self.model)
        found = self._loss() - rise
        self.rises[found] = rise
        return found

    def reached(self, value: float) -> None:
        self.now = value

    def _loss(self) -> float:
        return float(losses(self.model, self.tried, self.problem).mean())
