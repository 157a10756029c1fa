"""Two-sided edit: the forget gradient between inverse Kronecker factors of the retain set."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from torch import nn

from mnemotomy.core.bounded import check_count
from mnemotomy.core.errors import ConfigurationError, SelectionError
from mnemotomy.curvature.ascent import Aim, Pull, SharedStart, TwoSidedRun, edited_copy
from mnemotomy.curvature.kronecker import KroneckerFactors, check_damping
from mnemotomy.curvature.weight_gradients import Matrices
from mnemotomy.engram.sites import Selector, select_sites
from mnemotomy.engram.sites.base import WeightAndBias
from mnemotomy.methods.base import OURS
from mnemotomy.methods.language.collecting import some
from mnemotomy.methods.language.curvature import Curvature, Labels, linear
from mnemotomy.methods.language.forgetting import Forgetting, WeightedForgetLoss, loss_gradient
from mnemotomy.methods.language.lower_blocks import cached_lower_blocks
from mnemotomy.methods.language.problem import LanguageMethod, TextProblem, sequences
from mnemotomy.methods.language.target_level import Level, estimated_level, losses
from mnemotomy.methods.registry import register
from mnemotomy.text.encoding import Encoded

TOLERANCE, WAYPOINT_TOLERANCE = 0.02, 0.1
"""How close to its aim the last step and the steps before it must come, as a share of the level."""


@register(
    "two-sided",
    "Two-sided",
    OURS,
    family="closed form",
    draws=True,
    cost="forwards and backwards: part of the retain set and the forget set, once per step",
    grid={"damping": (0.002, 0.01, 0.05)},
)
class TwoSided(LanguageMethod):
    """``ΔW = η · G⁻¹ ∇L_forget A⁻¹``: a few natural-gradient steps in the metric of the retain set.

    A and G are the Kronecker factors of the retain set's Fisher matrix F: the direction raises the loss on the forget
    set at the least change, to second order, of the model's outputs on the retain set (Eq. 9 of arXiv 2606.14997, with
    the output factor that its Remark 6.2 leaves out). Each step is a closed form of its gradients. ``L_forget`` is
    ``WeightedForgetLoss``: the log-odds in the first step, where the loss of memorised answers has hardly a gradient,
    then the loss, which is gentler on tokens that anyone could guess.

    From the second step on, the retain set's own gradient, by then no longer zero, takes part: with
    ``u = F⁻¹ ∇L_forget`` and ``v = F⁻¹ ∇L_retain``, the step goes along ``u / ‖u‖ − ρ v / ‖v‖`` in the metric F. ρ = 1
    bisects the angle between forgetting most and repairing most.

    A step's length is found with forward passes alone, until the mean loss has gone its part of the way to the level;
    the first guess follows from the gradient and is usually close.

    Attributes:
        damping: δ, added to the eigenvalues of both factors in units of their means.
        steps: number of steps; the factors are computed once, before the first.
        repair: ρ.
        level: the mean loss per token to reach, in nats; None to estimate it (``target_level.estimated_level``), for
            each answer by itself where the model was not trained on answers.
        log_odds: whether the first step uses the log-odds.
        factors: K-FAC, or EKFAC with a separate eigenvalue for each pair of eigenvectors.
        labels: of the Fisher matrix.
        smoothing: the share of labels drawn from the whole vocabulary (``Curvature``); at 0, the probability taken from
            forgotten answers goes to tokens in no retained text, and answers become word salad.
        sites: which maps, by the PEFT convention; every linear one but the output head by default.
        layers: blocks; None for all but the lowest third, which needs no backward pass.
        read: the most retained examples for the factors, drawn at random.
        repairing: the most retained examples whose gradient repairs; different ones where there are enough.
        search: the most forget examples to find lengths on, drawn at random.
        evaluations: the most lengths to try for a step.

    Raises:
        NonFiniteError: the model's loss is not finite at any length tried.
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

    def __post_init__(self) -> None:
        check_damping(self.damping)
        Curvature(self.labels, self.factors, smoothing=self.smoothing)  # checks itself
        check_count("steps", self.steps)
        if min(self.read, self.repairing, self.search, self.evaluations) < 1:
            raise ConfigurationError("read, repairing, search and evaluations are at least 1")
        if not self.repair >= 0.0:
            raise ConfigurationError(f"repair is at least 0, not {self.repair}")
        if self.level is not None and not self.level > 0.0:
            raise ConfigurationError(f"level is a loss above 0, not {self.level}")

    def __call__(self, problem: TextProblem, shared: SharedStart | None = None) -> nn.Module:
        """As for every method; edits that differ in damping and repair alone are faster with a start they share."""
        settings = replace(self, damping=0.0, repair=0.0)
        with (
            edited_copy(problem.model, self.linear_sites) as (model, sites),
            cached_lower_blocks(model, sites),
        ):
            start = (shared or SharedStart()).of(problem, settings, lambda: _Start.of(self, problem, model, sites))
            run = _Run(self, problem, model, sites, start)
            run.run()
            if run.now < start.goal * (1.0 - WAYPOINT_TOLERANCE):
                warnings.warn(
                    f"two-sided: the loss on the forget set has reached {run.now:.2f} of {start.goal:.2f} nats; lower "
                    "damping, or raise steps or evaluations",
                    stacklevel=2,
                )
        return model

    def linear_sites(self, model: nn.Module) -> dict[str, WeightAndBias]:
        """The layers to edit.

        Raises:
            SelectionError: a name or a block is not in the model, or a site is not linear or is the output head.
        """
        layers = self.layers
        if layers is None:
            blocks = {site.layer for site in select_sites(model, self.sites).values() if site.layer is not None}
            layers = sorted(blocks)[len(blocks) // 3 :] or None
        found = linear(select_sites(model, self.sites, layers))
        head = cast(Any, model).get_output_embeddings()
        for name, site in found.items():
            if site.module is head:
                raise SelectionError(f"the two-sided edit takes layers below the output head; leave {name!r} out")
        return found


@dataclass(frozen=True)
class _Start:
    """The unedited model's side of an edit, which neither damping nor repairs change.

    Attributes:
        level: to reach.
        forget, retain: the rows that forgetting and repairing read.
        tried: the rows that lengths are found on.
        goal: the mean level of these, in nats.
        now: their mean loss.
        factors: of the retain set.
        first: the gradient of the first step.
    """

    level: Level
    forget: Sequence[Encoded]
    retain: Sequence[Encoded]
    tried: Sequence[Encoded]
    goal: float
    now: float
    factors: KroneckerFactors
    first: Forgetting

    @classmethod
    def of(cls, method: TwoSided, problem: TextProblem, model: nn.Module, sites: Mapping[str, WeightAndBias]) -> _Start:
        """Read both sets.

        Raises:
            ConfigurationError: the loss has passed the level already.
        """
        level = estimated_level(problem, method.search) if method.level is None else Level(method.level, problem)
        tried = some(problem.forget, method.search, problem.seed)
        rows = sequences(problem, tried)
        goal = float(level.of(tried).mean()) if level.answers else level.start
        now = float(losses(model, rows, problem).mean())
        if now >= goal:  # before the factors, which take minutes
            raise ConfigurationError(
                f"two-sided: the loss on the forget set, {now:.2f} nats, has passed the level of {goal:.2f} already, "
                "so that nothing would change; give a higher level"
            )
        forget = sequences(problem, problem.forget)
        drawn = some(problem.retain, method.read + method.repairing, problem.seed)
        read, retain = (sequences(problem, part) for part in (drawn[: method.read], drawn[-method.repairing :]))
        settings = Curvature(method.labels, method.factors, problem.seed, method.smoothing)
        factors = settings.collect(model, sites, read, problem.tokenizer)
        below = WeightedForgetLoss(level.of(problem.forget), log_odds=method.log_odds)
        first = below.gradient(model, {name: sites[name] for name in factors.sites}, forget, problem.tokenizer)
        return cls(level, forget, retain, rows, goal, now, factors, first)


class _Run(TwoSidedRun):
    """One edit in progress."""

    def __init__(
        self,
        method: TwoSided,
        problem: TextProblem,
        model: nn.Module,
        sites: Mapping[str, WeightAndBias],
        start: _Start,
    ) -> None:
        super().__init__(method.steps, method.damping, method.repair)
        self.method, self.problem, self.model, self.start = method, problem, model, start
        self.now, self.rises = start.now, {start.now: 0.0}  # the level has not risen before the edit
        self.factors = start.factors
        self.sites = {name: sites[name] for name in self.factors.sites}  # drops sites that no text reaches

    def pull(self, number: int) -> Pull | None:
        start = self.start
        if self.now >= start.goal:
            return None
        forgetting = self._forgetting() if number else start.first
        share = 1.0 / (self.steps - number)
        last = number + 1 == self.steps

        def aim(slope: float) -> Aim:
            return Aim(
                self.now + share * (start.goal - self.now),
                start.goal * (TOLERANCE if last else WAYPOINT_TOLERANCE),
                self.method.evaluations,
                share * forgetting.gap * forgetting.tokens / slope,
            )

        return Pull(forgetting.gradients, aim)

    def retaining(self) -> Matrices:
        return loss_gradient(self.model, self.sites, self.start.retain, self.problem.tokenizer)

    def value(self) -> float:
        """The current mean loss of the forget set, minus the level's rise."""
        rise = self.start.level.rise(self.model)
        found = float(losses(self.model, self.start.tried, self.problem).mean()) - rise
        self.rises[found] = rise
        return found

    def reached(self, value: float) -> None:
        self.now = value

    def _forgetting(self) -> Forgetting:
        """The present ``∇L_forget`` after the first step."""
        level = self.start.level.of(self.problem.forget) + self.rises[self.now]
        below = WeightedForgetLoss(level, log_odds=False)
        return below.gradient(self.model, self.sites, self.start.forget, self.problem.tokenizer)
