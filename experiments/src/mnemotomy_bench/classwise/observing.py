"""One forward pass of a classifier: logits, losses, and the features that its head reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import BATCH_SIZE, head_of, read_head
from mnemotomy_bench.metrics.accuracy import class_accuracies


@dataclass(frozen=True)
class Seen:
    """The result of one forward pass, on the CPU.

    Attributes:
        features: the input of the classifier's head.
        logits: its output.
        labels: the true classes.
    """

    features: Float[Tensor, "n d"]
    logits: Float[Tensor, "n classes"]
    labels: Int[Tensor, " n"]

    def __getitem__(self, rows: Bool[Tensor, " n"] | Int[Tensor, " m"] | slice) -> Seen:
        return Seen(self.features[rows], self.logits[rows], self.labels[rows])

    @property
    def accuracy(self) -> float:
        """The share of the examples that are classified correctly."""
        return float((self.logits.argmax(-1) == self.labels).double().mean())

    @property
    def losses(self) -> Float[Tensor, " n"]:
        """The cross-entropy of each example, in nats."""
        return nn.functional.cross_entropy(self.logits.double(), self.labels, reduction="none")

    @property
    def is_finite(self) -> bool:
        """False if finite weights give features or logits that are not finite."""
        return bool(torch.isfinite(self.features).all() and torch.isfinite(self.logits).all())

    @property
    def by_class(self) -> Float[Tensor, " classes"]:
        """The accuracy on each class; NaN where it has no example."""
        return class_accuracies(self.logits.argmax(-1), self.labels, self.logits.shape[1])


def see(model: nn.Module, examples: Examples, batch_size: int = BATCH_SIZE) -> Seen:
    """Forward every example once, in evaluation mode.

    Raises:
        ModelError: the model has no linear head.
    """
    return Seen(*read_head(model, head_of(model, examples), examples, batch_size), examples.labels.cpu().long())
