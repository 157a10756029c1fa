"""The engram methods: moments of both sets, one atlas, and erasure by a filter of μ, in one or more rounds."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError, ModelError
from mnemotomy.data.examples import Examples
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.factored import FactoredConcept
from mnemotomy.engram.filters import Hard, Power
from mnemotomy.engram.recalibrate import recalibrate_
from mnemotomy.engram.strength import Strength, erase
from mnemotomy.methods.base import ENGRAM, OURS
from mnemotomy.methods.classifiers.classifier import head_of
from mnemotomy.methods.classifiers.problem import ClassifierMethod, Problem
from mnemotomy.methods.registry import register

FORGET, RETAIN = "forget", "retain"


@dataclass(frozen=True, kw_only=True)
class EngramMethod(ClassifierMethod):
    """A method that collects moments of the two sets and edits by their engrams, in one or more rounds.

    Attributes:
        rounds: how often to collect and erase.
        collected: the most examples to collect moments from, drawn from both sets in proportion; None for all.
            Everything else is read from all examples.
        rows: receptive fields per example at a convolution (``CollectOptions.rows``); None for all.
        batch_size: of all passes.
        recalibrates: whether batch normalisation's running statistics are read again from the retain set after each
            edit; otherwise they stay, as a part of the network that the paper's estimator does not edit.

    Raises:
        ConfigurationError: one of them is below 1.
    """

    family: ClassVar = "closed form"
    cost: ClassVar = "forward passes"
    recalibrates: ClassVar[bool] = False

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
        """The engrams of ``forget`` and ``retain`` in ``model``, at every layer, including convolutions and the head.

        The moments are taken in evaluation mode, where batch normalisation is a fixed affine map.
        """
        size = len(problem.forget) + len(problem.retain)
        share = 1.0 if self.collected is None else min(1.0, self.collected / size)
        sets = {
            name: examples if share == 1.0 else examples.drawn(max(1, round(share * len(examples))), problem.seed)
            for name, examples in ((FORGET, problem.forget), (RETAIN, problem.retain))
        }
        batches = {name: inputs_of(examples, self.batch_size) for name, examples in sets.items()}
        return Atlas(model, collect(model, batches, sites="all", options=CollectOptions(rows=self.rows)))

    def __call__(self, problem: Problem) -> nn.Module:
        model = copy.deepcopy(problem.model).eval()
        for _ in range(self.rounds):
            self.edit(problem, model, self.atlas_of(model, problem)).apply_(model, check=False)
            if self.recalibrates:
                mixed = problem.retain.drawn(len(problem.retain), problem.seed)  # classes in order would miss variance
                recalibrate_(model, inputs_of(mixed, self.batch_size))
        return model

    @abstractmethod
    def edit(self, problem: Problem, model: nn.Module, atlas: Atlas) -> Edit:
        """One round's edit of ``model``, which earlier rounds may have edited; ``atlas`` is that model's."""


def head_site(head: nn.Linear, atlas: Atlas | FactoredConcept) -> str:
    """The name of the head's site.

    Raises:
        ModelError: the atlas has no such site.
    """
    found = next((name for name, site in atlas.sites.items() if site.module is head), None)
    if found is None:
        raise ModelError(
            "the head is not a site: its weight is computed from others; call remove_parametrizations on it first"
        )
    return found


def inputs_of(examples: Examples, batch_size: int) -> Iterator[Tensor]:
    """The inputs, batch by batch."""
    return (batch.inputs for batch in examples.batches(batch_size))


STRENGTHS = tuple(tenths / 10 for tenths in range(5, 21))
"""Table 5 of arXiv 2606.14997: 0.5, 0.6, …, 2.0."""


@register("engram", "Engram (α = 1)", ENGRAM)
class EngramPaper(EngramMethod):
    """``W − α W Σ⁺ (Σ⁺ + Σ⁻)†`` at every layer (Eq. 4, Appendix B.4.1), at α = 1; one round, as in the paper."""

    strength: float = 1.0

    def edit(self, problem: Problem, model: nn.Module, atlas: Atlas) -> Edit:
        return erase(atlas, FORGET, self.strength)


@register("engram-grid", "Engram (best α)", ENGRAM, grid={"strength": STRENGTHS})
class EngramGrid(EngramPaper):
    """``EngramPaper`` at the α that a grid search finds: 0.6 for CIFAR-10 and 1.6 for CIFAR-100 in the paper."""


@register(
    "engram-projector",
    "Engram (projector)",
    OURS,
    grid={"threshold": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7), "strength": (0.6, 0.8, 1.0, 1.2, 1.4)},
)
class ClassifierEngramProjector(EngramMethod):
    """``W − α W P`` with ``P`` the projector on the directions with ``μ > threshold`` (``filters.Hard``).

    Raises:
        DataError: the threshold is not in [0, 1).
    """

    threshold: float = 0.5
    strength: float = 1.0

    def __post_init__(self) -> None:
        Hard(self.threshold)  # checks itself
        super().__post_init__()

    def edit(self, problem: Problem, model: nn.Module, atlas: Atlas) -> Edit:
        return erase(atlas, FORGET, self.strength, Hard(self.threshold))


@register(
    "engram-recalibrated",
    "Engram (recalibrated)",
    OURS,
    recalibrates=True,
    grid={"strength": STRENGTHS, "head_strength": (None, 1.2, 1.6, 2.0), "exponent": (1.0, 2.0)},
)
class EngramRecalibrated(EngramPaper):
    """``EngramPaper`` with a separate α for the head; then ``recalibrate_`` reads the retain set once more.

    A direction that the classes share has μ = ``n⁺/N``, so every layer's input is scaled down by about that much. Batch
    normalisation absorbs the scale once its statistics are those of the edited layers. Less is then lost before the
    head, which has to be edited more.

    Attributes:
        strength: α of the layers before the head.
        head_strength: α of the head; None for the same.
        exponent: of μ (``filters.Power``); 1 is the paper's estimator.

    Raises:
        DataError: the exponent is not above 0.
    """

    outputs: ClassVar[bool] = False

    head_strength: float | None = None
    exponent: float = 1.0

    def __post_init__(self) -> None:
        Power(self.exponent)  # checks itself
        super().__post_init__()

    def edit(self, problem: Problem, model: nn.Module, atlas: Atlas) -> Edit:
        strength: Strength = self.strength
        if self.head_strength is not None:
            head = head_site(head_of(model, problem.forget), atlas)
            strength = dict.fromkeys(atlas.sites, self.strength) | {head: self.head_strength}
        filter = None if self.exponent == 1.0 else Power(self.exponent)
        return erase(atlas, FORGET, strength, filter, outputs=self.outputs)


@register(
    "engram-outputs",
    "Engram (with outputs)",
    OURS,
    outputs=True,
    grid={"strength": (0.2, 0.5, 0.8, 1.2), "head_strength": (1.4, 2.0, 3.0, 4.0)},
)
class EngramOutputs(EngramRecalibrated):
    """``W − α P_out W P`` at every layer (``Atlas.output_operator``), recalibrated, with a separate α for the head.

    The paper's ``W P`` removes all that a layer computes from the class's inputs, including what other classes share
    with it. ``P_out`` spares what is shared where the output is not the class's, above all at the head, where outputs
    are classes; a larger α then costs the other classes little.
    """
