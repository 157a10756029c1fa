"""The engram methods: moments of both sets, one atlas, and erasing by a filter of μ, in rounds where asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError, ModelError
from mnemotomy.data.examples import Examples
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import Hard, Power
from mnemotomy.engram.recalibrate import recalibrate_
from mnemotomy.engram.strength import Strength, erase
from mnemotomy.methods.base import ENGRAM, OURS, SearchSpace
from mnemotomy.methods.classifiers.classifier import head_of
from mnemotomy.methods.classifiers.problem import ClassifierMethod, Problem
from mnemotomy.methods.registry import register

FORGET, RETAIN = "forget", "retain"


@dataclass(frozen=True, kw_only=True)
class EngramMethod(ClassifierMethod):
    """A method that collects moments of the two sets and edits by their engrams, once or again and again.

    Attributes:
        rounds: how often to collect and erase.
        collected: moments are collected from at most so many examples, drawn from both sets in proportion; None for
            all. Whatever else a method reads, it reads from all.
        rows: of so many receptive fields of each example at a convolution (``CollectOptions.rows``); None for all.
        batch_size: of all passes.

    Raises:
        ConfigurationError: one of them is below 1.
    """

    family: ClassVar = "closed form"
    cost: ClassVar = "forward passes"

    rounds: int = 1
    collected: int | None = None
    rows: int | None = None
    batch_size: int = 128

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.batch_size < 1:
            raise ConfigurationError(f"rounds and batch size are at least 1, not {self.rounds} and {self.batch_size}")
        for name, count in (("example", self.collected), ("row of each example", self.rows)):
            if count is not None and count < 1:
                raise ConfigurationError(f"collect from at least one {name}, not {count}; None for all")

    def atlas_of(self, model: nn.Module, problem: Problem) -> Atlas:
        """The engrams of ``forget`` and ``retain`` in ``model``, at every layer: convolutions and the head too.

        The moments are those of evaluation mode, in which batch normalisation is a fixed affine map.
        """
        size = len(problem.forget) + len(problem.retain)
        share = 1.0 if self.collected is None else min(1.0, self.collected / size)
        sets = {
            name: examples if share == 1.0 else examples.drawn(max(1, round(share * len(examples))), problem.seed)
            for name, examples in ((FORGET, problem.forget), (RETAIN, problem.retain))
        }
        batches = {name: inputs_of(examples, self.batch_size) for name, examples in sets.items()}
        return Atlas(model, collect(model, batches, sites="all", options=CollectOptions(rows=self.rows)))

    def erased_in_rounds(
        self, problem: Problem, edit: Callable[[nn.Module, Atlas], Edit], *, recalibrate: bool = False
    ) -> nn.Module:
        """A copy of the problem's model, edited ``rounds`` times, with new moments of the edited model before each.

        Args:
            problem: what to forget.
            edit: the edit that erases, given the model as it is by then and its atlas.
            recalibrate: read batch normalisation's running statistics again after each edit, from the examples to
                retain; else they stay as they are, a part of the network that the paper's estimator does not edit.
        """
        model = copy.deepcopy(problem.model).eval()
        for _ in range(self.rounds):
            edit(model, self.atlas_of(model, problem)).apply_(model, check=False)
            if recalibrate:
                recalibrate_(model, inputs_of(problem.retain, self.batch_size))
        return model


def head_site(head: nn.Linear, atlas: Atlas) -> str:
    """The name of the site that is a model's head.

    Raises:
        ModelError: it is none of the atlas.
    """
    found = next((name for name, site in atlas.sites.items() if site.module is head), None)
    if found is None:
        raise ModelError(
            "the head is no site: its weight is computed from others; remove_parametrizations from the layer first"
        )
    return found


def inputs_of(examples: Examples, batch_size: int) -> Iterator[Tensor]:
    """The inputs alone, batch by batch."""
    return (batch.inputs for batch in examples.batches(batch_size))


STRENGTHS = tuple(tenths / 10 for tenths in range(5, 21))
"""Table 5 of arXiv 2606.14997: 0.5, 0.6, …, 2.0."""


@register
@dataclass(frozen=True)
class EngramPaper(EngramMethod):
    """``W − α W Σ⁺ (Σ⁺ + Σ⁻)†`` at every layer (Eq. 4, Appendix B.4.1), at α = 1; in one round, as the paper has it.

    Raises:
        ConfigurationError: as ``EngramMethod``.
    """

    strength: float = 1.0

    name: ClassVar = "engram"
    title: ClassVar = "Engram (α = 1)"
    paper: ClassVar = ENGRAM

    def __call__(self, problem: Problem) -> nn.Module:
        return self.erased_in_rounds(problem, self._edit)

    def _edit(self, model: nn.Module, atlas: Atlas) -> Edit:
        return erase(atlas, FORGET, self.strength)


@register
@dataclass(frozen=True)
class EngramGrid(EngramPaper):
    """The same at the α that a grid search finds: 0.6 for CIFAR-10 and 1.6 for CIFAR-100 in the paper.

    Raises:
        ConfigurationError: as ``EngramPaper``.
    """

    name: ClassVar = "engram-grid"
    title: ClassVar = "Engram (best α)"
    search_space: ClassVar = SearchSpace({"strength": STRENGTHS})


@register
@dataclass(frozen=True)
class ClassifierEngramProjector(EngramMethod):
    """``W − α W P`` with ``P`` the projector on the directions with ``μ > threshold`` (``filters.Hard``).

    Raises:
        DataError: the threshold is not in [0, 1).
        ConfigurationError: as ``EngramMethod``.
    """

    threshold: float = 0.5
    strength: float = 1.0

    name: ClassVar = "engram-projector"
    title: ClassVar = "Engram (projector)"
    paper: ClassVar = OURS
    search_space: ClassVar = SearchSpace(
        {
            "threshold": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
            "strength": (0.6, 0.8, 1.0, 1.2, 1.4),
        }
    )

    def __post_init__(self) -> None:
        Hard(self.threshold)  # its own check, before any work is done
        super().__post_init__()

    def __call__(self, problem: Problem) -> nn.Module:
        return self.erased_in_rounds(problem, self._edit)

    def _edit(self, model: nn.Module, atlas: Atlas) -> Edit:
        return erase(atlas, FORGET, self.strength, Hard(self.threshold))


@register
@dataclass(frozen=True)
class EngramRecalibrated(EngramPaper):
    """``EngramPaper`` with an α of the head's own, after which ``recalibrate_`` reads the examples to retain once more.

    Where classes share a direction its μ is ``n⁺/N``, so that every layer's input is scaled down by about that much. A
    network with batch normalisation does not mind the scale, once its statistics are those of the edited layers. Less
    is then lost before the head, which has to be edited more.

    Attributes:
        strength: α of the layers before the head.
        head_strength: α of the head; None for the same.
        exponent: of μ (``filters.Power``); 1 is the paper's estimator.

    Raises:
        DataError: the exponent is not above 0.
        ConfigurationError: as ``EngramMethod``.
    """

    head_strength: float | None = None
    exponent: float = 1.0

    name: ClassVar = "engram-recalibrated"
    title: ClassVar = "Engram (recalibrated)"
    paper: ClassVar = OURS
    outputs: ClassVar = False
    search_space: ClassVar = SearchSpace(
        {"strength": STRENGTHS, "head_strength": (None, 1.2, 1.6, 2.0), "exponent": (1.0, 2.0)}
    )

    def __post_init__(self) -> None:
        Power(self.exponent)  # its own check, before any work is done
        super().__post_init__()

    def __call__(self, problem: Problem) -> nn.Module:
        filter = None if self.exponent == 1.0 else Power(self.exponent)

        def edit(model: nn.Module, atlas: Atlas) -> Edit:
            strength: Strength = self.strength
            if self.head_strength is not None:
                head = head_site(head_of(model, problem.forget), atlas)
                strength = dict.fromkeys(atlas.sites, self.strength) | {head: self.head_strength}
            return erase(atlas, FORGET, strength, filter, outputs=self.outputs)

        return self.erased_in_rounds(problem, edit, recalibrate=True)


@register
@dataclass(frozen=True)
class EngramOutputs(EngramRecalibrated):
    """``W − α P_out W P`` at every layer (``Atlas.output_operator``), recalibrated, with an α of the head's own.

    The paper's ``W P`` takes from a layer all that it makes of the class's inputs, and from others what they share with
    them. ``P_out`` leaves what they share where the output is not the class's: at the head above all, where outputs are
    classes, so that a larger α costs the others little.

    Raises:
        DataError: the exponent is not above 0.
        ConfigurationError: as ``EngramMethod``.
    """

    name: ClassVar = "engram-outputs"
    title: ClassVar = "Engram (with outputs)"
    paper: ClassVar = OURS
    outputs: ClassVar = True
    search_space: ClassVar = SearchSpace({"strength": (0.2, 0.5, 0.8, 1.2), "head_strength": (1.4, 2.0, 3.0, 4.0)})
