"""What the engram methods have in common: moments of the two sets, one atlas, and erasing in rounds."""

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
from mnemotomy.engram.recalibrate import recalibrate_
from mnemotomy.methods.classifiers.problem import ClassifierMethod, Problem

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
