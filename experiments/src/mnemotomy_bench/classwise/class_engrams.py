"""The engrams of all classes of one original model: one collection, one factorisation, an engram per class."""

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
"""Images of one class; with small batches, small networks would mostly wait."""


def class_atlas(model: nn.Module, examples: Examples, rows: int | None = None) -> Atlas:
    """The atlas of every class at every layer, from one pass over the examples, class by class.

    Mixed batches would take three times as long on MNIST: each class has its own product, of a dozen rows.

    Args:
        model: whose moments are collected.
        examples: of all classes.
        rows: how many receptive fields of each example a convolution collects; all by default.
    """
    classes = examples.labels.unique().tolist()
    batches = {str(label): examples[examples.labels == label].inputs.split(_AT_A_TIME) for label in classes}
    return Atlas(model, collect(model, batches, sites="all", options=CollectOptions(rows=rows)))


def class_engrams(atlas: Atlas, classes: int) -> list[Edit]:
    """The paper's engram of each class, as tensors."""
    return [atlas[label].materialize() for label in range(classes)]


class Anatomy:
    """What the analyses share: the model, its class atlas and engrams, each made on first use."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.model = subject.original

    @cached_property
    def collected(self) -> Examples:
        """The examples that engrams are collected from."""
        return some(self.subject.given, self.subject.case.grid.collected)

    @cached_property
    def atlas(self) -> Atlas:
        """The atlas of all classes."""
        return class_atlas(self.model, self.collected, self.subject.case.grid.fields_read)

    @cached_property
    def engrams(self) -> list[Edit]:
        """The engram of each class."""
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
        """The superclasses; pairs of neighbouring classes if there are none."""
        if self.subject.superclasses:
            return {name: tuple(members) for name, members in self.subject.superclasses.items()}
        names, pairs = self.subject.class_names, range(0, self.subject.classes - 1, 2)
        return {f"{names[first]}, {names[first + 1]}": (first, first + 1) for first in pairs}
