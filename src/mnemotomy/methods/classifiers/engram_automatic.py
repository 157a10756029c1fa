"""Engram automatic: the kind and the strengths of a spectral filter are chosen on training examples alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.deltas import Term
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.factored import FactoredConcept
from mnemotomy.engram.filters import Filter, Hard, Power
from mnemotomy.engram.recalibrate import recalibrated
from mnemotomy.methods.base import OURS
from mnemotomy.methods.classifiers.classifier import head_of, read_head
from mnemotomy.methods.classifiers.engram import FORGET, EngramMethod, head_site, inputs_of
from mnemotomy.methods.classifiers.problem import Problem
from mnemotomy.methods.registry import register
from mnemotomy.metrics.clustering import separability
from mnemotomy.metrics.dimensional_alignment import dimensional_alignment

CLUSTERED = 500
"""Forget examples whose features are clustered, with as many others; k-means takes longer than everything else."""


@dataclass(frozen=True)
class HeadReading:
    """The head's inputs for both sets, and their classes."""

    forget: Float[Tensor, "n d"]
    retain: Float[Tensor, "m d"]
    forget_labels: Tensor
    retain_labels: Tensor

    def forgotten(self, weight: Float[Tensor, "out d_plus_1"]) -> float:
        """The accuracy on the forget set with this canonical weight of the head."""
        return _accuracy(self.forget, self.forget_labels, weight)

    def retained(self, weight: Float[Tensor, "out d_plus_1"]) -> float:
        """The accuracy on the retain set."""
        return _accuracy(self.retain, self.retain_labels, weight)


@dataclass(frozen=True)
class FilterChoice:
    """A filter with the strengths chosen for it, and the accuracies that they leave on the training examples read.

    Attributes:
        filter: of μ: a threshold or a power.
        strength: α of the layers before the head.
        head_strength: α of the head.
        forget: accuracy on the forget set, in [0, 1].
        retain: accuracy on the retain set, in [0, 1].
        reading: the head's inputs once the layers before it are edited.
    """

    filter: Filter
    strength: float
    head_strength: float
    forget: float
    retain: float
    reading: HeadReading = field(repr=False)

    @property
    def accuracy(self) -> float:
        """1 where none of the forget set is recognised and all of the retain set."""
        return (1.0 - self.forget) * self.retain

    @property
    def mixing(self) -> float:
        """1 where the head's inputs for the forget set lie among those for the retain set."""
        return self.alignment * (1.0 - self.separability)

    @cached_property
    def alignment(self) -> float:
        """Dimensional Alignment of the head's inputs, in [0, 1]."""
        return dimensional_alignment(self.reading.forget, self.reading.retain)

    @cached_property
    def separability(self) -> float:
        """NMI of two clusters of the head's inputs with the two sets, in [0, 1]."""
        return separability(self.reading.forget[:CLUSTERED], self.reading.retain, draws=3)


def _accuracy(inputs: Float[Tensor, "n d"], labels: Tensor, weight: Float[Tensor, "out d_plus_1"]) -> float:
    predicted = (inputs @ weight[:, :-1].T + weight[:, -1]).argmax(-1)
    return float((predicted == labels).double().mean())


@register("engram-automatic", "Engram (automatic)", OURS, recalibrates=True)
class ClassifierEngramAutomatic(EngramMethod):
    """An engram filtered by μ; the filter and α are chosen without a test example and without a retrained model.

    The layers before the head share one α, and the head has another. Pushed too far, a class's features form a cluster
    of their own; pushed too little, the class is only masked by the head. So the layers before the head are edited
    until the forget set's features lie where the others do, and the head just enough to leave at most
    ``erased_at_most`` of the forget set recognised: a model that never saw the class recognises none of it. Among all
    filters and α of the layers whose ``accuracy`` is within ``tolerance`` of the highest, the pair with the greatest
    ``mixing`` wins (``FilterChoice``). Batch normalisation is recalibrated on the retain set (``recalibrate_``), for
    the choice and at the end.

    Attributes:
        excesses: thresholds τ (``filters.Hard``), each as a share of the way from ``n⁺/N`` (in examples), the μ of a
            direction that the forget set shares with everything, to 1, the μ of one that only the forget set has.
        exponents: of μ (``filters.Power``).
        outputs: erase only what also writes in the class's directions (``Atlas.output_operator``).
        strengths: α to try for the layers before the head.
        head_strengths: α to try for the head, in ascending order.
        erased_at_most: the share of the forget set that may stay recognised.
        tolerance: the accuracy to give up for features that mix.
        read: the most examples of each set to read.

    Raises:
        DataError: on a call, where scikit-learn is not installed.
    """

    excesses: Sequence[float] = (0.1, 0.3, 0.5, 0.7)
    exponents: Sequence[float] = (1.0,)
    outputs: bool = True
    strengths: Sequence[float] = (0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.4, 2.0)
    head_strengths: Sequence[float] = tuple(tenths / 10 for tenths in range(41))
    erased_at_most: float = 0.002
    tolerance: float = 0.015
    read: int = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.excesses or self.exponents):
            raise ConfigurationError("there is no filter to try; give excesses or exponents")
        if not all(0.0 <= excess < 1.0 for excess in self.excesses):
            raise ConfigurationError(f"excesses over n⁺/N are in [0, 1), not {list(self.excesses)}")
        if not all(exponent > 0.0 for exponent in self.exponents):
            raise ConfigurationError(f"exponents of μ are above 0, not {list(self.exponents)}")
        if not self.strengths or not all(strength > 0.0 for strength in self.strengths):
            raise ConfigurationError(f"strengths are above 0, not {list(self.strengths)}")
        if not self.head_strengths or not all(strength >= 0.0 for strength in self.head_strengths):
            raise ConfigurationError(f"strengths of the head are at least 0, not {list(self.head_strengths)}")
        if self.read < 1 or not 0.0 <= self.erased_at_most <= 1.0:
            raise ConfigurationError(
                f"read is at least one example and erased_at_most a share in [0, 1], not {self.read} and "
                f"{self.erased_at_most}"
            )
        if not 0.0 <= self.tolerance <= 1.0:
            raise ConfigurationError(f"tolerance is a share in [0, 1], not {self.tolerance}")

    @property
    def tried(self) -> int:
        """How many pairs of a filter and an α of the layers are tried: each reads both sets."""
        return (len(self.exponents) + len(self.excesses)) * len(self.strengths)

    def edit(self, problem: Problem, model: nn.Module, atlas: Atlas) -> Edit:
        return self.choose_edit(problem, model, atlas)[1]

    def choose(self, problem: Problem) -> FilterChoice:
        """The first round's choice."""
        return self.choose_edit(problem, problem.model, self.atlas_of(problem.model, problem))[0]

    def choose_edit(
        self, problem: Problem, model: nn.Module, atlas: Atlas | FactoredConcept
    ) -> tuple[FilterChoice, Edit]:
        """The choice for ``model`` and the edit that follows from it; of the problem, only the examples are read."""
        read = tuple(examples.drawn(self.read, problem.seed) for examples in (problem.forget, problem.retain))
        head = head_of(model, problem.forget)
        place = head_site(head, atlas)
        layers = [name for name in atlas.sites if name != place]
        found: list[tuple[FilterChoice, Edit]] = []
        for filter in self._filters(problem):
            deltas = self._engram(atlas, filter).terms[0].deltas
            for strength in sorted(self.strengths) if layers else [0.0]:
                edit = Edit((Term(dict.fromkeys(layers, -strength), deltas),))
                with edit.on(model, check=False), recalibrated(model, inputs_of(read[1], self.batch_size)):
                    forget, retain = (read_head(model, head, examples).inputs for examples in read)
                reading = HeadReading(forget, retain, read[0].labels.cpu(), read[1].labels.cpu())
                head_strength, left = self._head_strength(reading, head, deltas[place])
                kept = reading.retained(_without(head, deltas[place], head_strength))
                choice = FilterChoice(filter, strength, head_strength, left, kept, reading)
                found.append((choice, edit + Edit((Term({place: -head_strength}, deltas),))))
        enough = max(choice.accuracy for choice, _ in found) - self.tolerance
        return max((one for one in found if one[0].accuracy >= enough), key=lambda one: one[0].mixing)

    def _engram(self, atlas: Atlas | FactoredConcept, filter: Filter) -> Edit:
        """The forget set's engram as tensors."""
        if isinstance(atlas, FactoredConcept):
            return Edit((Term(1.0, atlas.filtered(filter, outputs=self.outputs)),)).materialize()
        return atlas.engram(FORGET, filter, outputs=self.outputs).materialize()

    def _filters(self, problem: Problem) -> Iterator[Filter]:
        share = len(problem.forget) / (len(problem.forget) + len(problem.retain))
        yield from (Power(exponent) for exponent in self.exponents)
        yield from (Hard(share + excess * (1.0 - share)) for excess in sorted(self.excesses, reverse=True))

    def _head_strength(
        self, reading: HeadReading, head: nn.Linear, engram: Float[Tensor, "out d"]
    ) -> tuple[float, float]:
        """The smallest strength that erases, otherwise the one that leaves least, and the accuracy it leaves."""
        tried: list[tuple[float, float]] = []
        for strength in sorted(self.head_strengths):
            tried.append((reading.forgotten(_without(head, engram, strength)), strength))
            if tried[-1][0] <= self.erased_at_most:
                return strength, tried[-1][0]
        left, strength = min(tried)
        return strength, left


def _without(head: nn.Linear, engram: Tensor, strength: float) -> Float[Tensor, "out d_plus_1"]:
    """The head's weight, its bias as the last column, minus ``strength`` times the engram."""
    weight = head.weight.detach().float().cpu()
    bias = torch.zeros(len(weight)) if getattr(head, "bias", None) is None else head.bias.detach().float().cpu()
    change = nn.functional.pad(engram.float().cpu(), (0, 1 + weight.shape[1] - engram.shape[1]))  # 0 without a bias
    return torch.cat([weight, bias[:, None]], dim=1) - strength * change
