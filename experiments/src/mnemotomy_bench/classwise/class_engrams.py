"""The engrams of all classes of one original model: one collection, one factorisation, as many engrams as classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.data.examples import Examples
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.edit import Edit
from mnemotomy_bench.classwise.observing import see
from mnemotomy_bench.classwise.subject import Subject
from mnemotomy_bench.vision.examples import some

BATCH_SIZE = 128
"""Appendix B.3."""
_AT_A_TIME = 512
"""Images of one class; small networks spend more time between batches than in them."""


def class_atlas(model: nn.Module, examples: Examples, rows: int | None = None) -> Atlas:
    """The atlas of every class at every layer, from one pass over the examples, class by class.

    Mixed batches would take MNIST three times as long, as each class has a product of its own, of a dozen rows.

    Args:
        model: what is collected from.
        examples: of all classes.
        rows: of so many receptive fields of each at a convolution; all by default.
    """
    classes = examples.labels.unique().tolist()
    batches = {str(label): examples[examples.labels == label].inputs.split(_AT_A_TIME) for label in classes}
    return Atlas(model, collect(model, batches, sites="all", options=CollectOptions(rows=rows)))


def class_engrams(atlas: Atlas, classes: int) -> list[Edit]:
    """The paper's engram of each class, as tensors."""
    return [atlas[label].materialize() for label in range(classes)]


class Anatomy:
    """What the analyses share: the model, its class atlas and engrams, each made when first asked for."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.model = subject.original

    @cached_property
    def collected(self) -> Examples:
        """What engrams are collected from."""
        return some(self.subject.given, self.subject.case.grid.collected)

    @cached_property
    def atlas(self) -> Atlas:
        """Of all classes."""
        return class_atlas(self.model, self.collected, self.subject.case.grid.fields_read)

    @cached_property
    def engrams(self) -> list[Edit]:
        """Of each class."""
        return class_engrams(self.atlas, self.subject.classes)

    @cached_property
    def before(self) -> Float[Tensor, " classes"]:
        """The original's accuracy on each class of the test set."""
        return self.subject.original_view.test.by_class

    def after(self, edits: Sequence[Edit]) -> Float[Tensor, "edits classes"]:
        """The accuracy on each class of the test set after each edit."""
        rows = []
        for edit in edits:
            with edit.on(self.model, check=False):
                rows.append(see(self.model, self.subject.test).by_class)
        return torch.stack(rows)

    def groups(self) -> dict[str, tuple[int, ...]]:
        """The superclasses; neighbouring classes two by two where there are none."""
        if self.subject.superclasses:
            return {name: tuple(members) for name, members in self.subject.superclasses.items()}
        names, pairs = self.subject.class_names, range(0, self.subject.classes - 1, 2)
        return {f"{names[first]}, {names[first + 1]}": (first, first + 1) for first in pairs}
