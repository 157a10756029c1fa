"""Two-sided edit: the gradient of what is to be forgotten, between the inverse Kronecker factors of what is to stay."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import nn

from mnemotomy.engram.sites import select_sites
from mnemotomy.engram.sites.base import WeightAndBias
from mnemotomy.errors import ConfigurationError, NonFiniteError, SelectionError
from mnemotomy.methods.language.base import LanguageMethod
from mnemotomy.methods.language.closed_form import PAPER
from mnemotomy.methods.language.collecting import name_of, some
from mnemotomy.methods.language.curvature import Curvature, Labels, linear
from mnemotomy.methods.language.forgetting import Below, Matrices, inner, loss_gradient
from mnemotomy.methods.language.kronecker import KroneckerFactors, check_damping
from mnemotomy.methods.language.line_search import reach
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.sequences import sequences
from mnemotomy.methods.language.unseen import Level, estimated_level, losses

TOLERANCE, WAYPOINT_TOLERANCE = 0.02, 0.1
"""How near to its aim the last step must come, and those before it, as a share of the level."""


class Ascent(NamedTuple):
    """Where one step goes.

    Attributes:
        deltas: by site, of the canonical weight.
        length: the first to try: there the log-odds change by the step's part of the way, as the gradient foresees it.
    """

    deltas: Matrices
    length: float


class Aim(NamedTuple):
    """What a step's length is searched for: a loss, how near to it is near enough, and the most lengths to try."""

    level: float
    tolerance: float
    evaluations: int


@dataclass(frozen=True)
class TwoSided(LanguageMethod):
    """``ΔW = η · G⁻¹ ∇L_forget A⁻¹``: a few natural-gradient steps in the metric of the retained set.

    A and G are the Kronecker factors of the retained set's Fisher matrix F: the direction raises the loss on the forget
    set at the least change, to second order, of what the model says on the retained one (Eq. 9 of the paper, with the
    output factor that its Remark 6.2 leaves out). No optimiser, no state: each step is a closed form of its gradients.
    ``L_forget`` is that of ``forgetting.Below``: the log-odds in the first step, where what is memorised has hardly a
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
        kinds: projections by name, as ``q_proj``; None for every linear one but the output head.
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
    kinds: Sequence[str] | None = None
    layers: Sequence[int] | None = None
    read: int = 100
    repairing: int = 200
    search: int = 20
    evaluations: int = 6

    name: ClassVar = "two-sided"
    title: ClassVar = "Two-sided"
    paper: ClassVar = f"ours, on {PAPER}"
    family: ClassVar = "closed form"
    draws: ClassVar = True
    cost: ClassVar = "forwards and backwards: part of the retained set and the forget set, once per step"
    search_space: ClassVar = {"damping": (0.002, 0.01, 0.05)}

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
        model = copy.deepcopy(problem.model).eval()
        sites = self.sites(model)
        _train_only(model, sites)
        run = _Run(self, problem, model, sites, level)
        for number in range(self.steps):
            if not run.step(number):
                break
        for parameter, original in zip(model.parameters(), problem.model.parameters(), strict=True):
            parameter.requires_grad_(original.requires_grad)
        return model

    def sites(self, model: nn.Module) -> dict[str, WeightAndBias]:
        """The layers that are edited.

        Raises:
            SelectionError: a kind or a block is not in the model, or is no linear layer, or is the output head.
        """
        selector = "all-linear" if self.kinds is None else list(self.kinds)
        layers = self.layers
        if layers is None:
            blocks = {site.layer for site in select_sites(model, selector).values() if site.layer is not None}
            layers = sorted(blocks)[len(blocks) // 3 :] or None
        found = linear(select_sites(model, selector, layers))
        head = name_of(model, "get_output_embeddings")
        if head in found:
            raise SelectionError(f"the two-sided edit is of layers below the output head; leave {head!r} out")
        return found


class _Run:
    """One edit under way."""

    def __init__(
        self, method: TwoSided, problem: TextProblem, model: nn.Module, sites: dict[str, WeightAndBias], level: Level
    ) -> None:
        self.method, self.problem, self.model, self.sites, self.level = method, problem, model, sites, level
        self.forget = sequences(problem, problem.forget)
        drawn = some(problem.retain, method.read + method.repairing, problem.seed)
        read, self.retain = (sequences(problem, part) for part in (drawn[: method.read], drawn[-method.repairing :]))
        self.tried = sequences(problem, some(problem.forget, method.search, problem.seed))
        settings = Curvature(method.labels, method.factors, problem.seed, method.smoothing)
        self.factors: KroneckerFactors = settings.collect(model, sites, read, problem.tokenizer)
        self.now = self.loss()

    def loss(self) -> float:
        """The mean loss of the forget set by now, without what the level has risen by."""
        return float(losses(self.model, self.tried, self.problem).mean()) - self.level.rise(self.model)

    def step(self, number: int) -> bool:
        """One step; false where nothing is left to do."""
        if self.now >= self.level.start:
            return False
        share = 1.0 / (self.method.steps - number)
        ascent = self.ascent(share, first=number == 0)
        if ascent is None:
            return False
        last = number + 1 == self.method.steps
        tolerance = self.level.start * (TOLERANCE if last else WAYPOINT_TOLERANCE)
        aim = Aim(self.now + share * (self.level.start - self.now), tolerance, self.method.evaluations)
        self.now = _search(self.sites, ascent, aim, self.loss)
        return True

    def ascent(self, share: float, *, first: bool) -> Ascent | None:
        """The direction at the model as it is by now; None where none raises the loss."""
        level = self.level.start + self.level.rise(self.model)
        aim = Below(level, log_odds=self.method.log_odds and first)
        forgetting = aim.gradient(self.model, self.sites, self.forget, self.problem.tokenizer)
        deltas = self.factors.solve(forgetting.gradients, self.method.damping)
        slope = inner(deltas, forgetting.gradients)
        if not slope > 0.0:
            return None
        if self.method.repair and not first:
            gradients = loss_gradient(self.model, self.sites, self.retain, self.problem.tokenizer)
            repairing = self.factors.solve(gradients, self.method.damping)
            square = inner(repairing, gradients)
            ratio = self.method.repair * math.sqrt(slope / square) if square > 0.0 else 0.0
            repaired = {name: delta - ratio * repairing[name] for name, delta in deltas.items()}
            if inner(repaired, forgetting.gradients) > 0.0:  # else repairing undoes the forgetting
                deltas, slope = repaired, inner(repaired, forgetting.gradients)
        return Ascent(deltas, share * forgetting.gap * forgetting.tokens / slope)


def _search(sites: Mapping[str, WeightAndBias], ascent: Ascent, aim: Aim, value: Callable[[], float]) -> float:
    """Move along an ascent to where ``value`` is what is aimed at, and give the value there."""
    start = {place: getattr(*place).detach().clone() for site in sites.values() for place in site.parameters}

    def go(length: float) -> None:
        with torch.no_grad():
            for (owner, leaf), weight in start.items():
                getattr(owner, leaf).copy_(weight)
        for name, site in sites.items():
            site.add_(length * ascent.deltas[name])

    def at(length: float) -> float:
        go(length)
        return value()

    found = reach(at, aim.level, ascent.length, tolerance=aim.tolerance, evaluations=aim.evaluations)
    if not math.isfinite(found.value):
        raise NonFiniteError("two-sided: the model breaks at every length that was tried; take a larger damping")
    go(found.length)
    return found.value


def _train_only(model: nn.Module, sites: Mapping[str, WeightAndBias]) -> None:
    """Gradients for the weights of the sites and for nothing else."""
    model.requires_grad_(False)
    for site in sites.values():
        for owner, leaf in site.parameters:
            getattr(owner, leaf).requires_grad_(True)
