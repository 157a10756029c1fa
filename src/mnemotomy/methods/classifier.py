"""Calling a classifier: its logits, its loss on a batch, its accuracy on training examples."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.methods.problem import Examples
from mnemotomy.models import device_of, observing


def logits(model: nn.Module, inputs: Float[Tensor, " n *shape"]) -> Float[Tensor, "n classes"]:
    """What the model gives for a batch: a tensor, or the ``logits`` of a transformers output."""
    output = model(inputs)
    return output if isinstance(output, Tensor) else output.logits


def cross_entropy(model: nn.Module, batch: Examples) -> Float[Tensor, ""]:
    """The mean cross-entropy ``L_CE`` of a batch, in nats."""
    batch = batch.to(device_of(model))
    return nn.functional.cross_entropy(logits(model, batch.inputs), batch.labels.long())


def accuracy(model: nn.Module, examples: Examples, batch_size: int = 512) -> float:
    """The share of ``examples`` that the model classifies rightly, in evaluation mode."""
    device, hits = device_of(model), 0
    with observing(model):
        for batch in examples.batches(batch_size):
            predicted = logits(model, batch.inputs.to(device)).argmax(-1)
            hits += int((predicted == batch.labels.to(device)).sum())
    return hits / len(examples)
