"""Calling a classifier: its logits, its head's inputs, its loss on a batch, its accuracy on training examples."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.core.errors import DataError, ModelError
from mnemotomy.core.modules import device_of, observing
from mnemotomy.core.printable import one_line
from mnemotomy.data.examples import Examples

BATCH_SIZE = 128
"""For forward passes: the activations of 128 small images fit into a processor's caches, those of 512 do not."""


def logits(model: nn.Module, inputs: Float[Tensor, " n *shape"]) -> Float[Tensor, "n classes"]:
    """The model's output for a batch: a tensor, or the ``logits`` of a transformers output."""
    output = model(inputs)
    return output if isinstance(output, Tensor) else output.logits


def cross_entropy(model: nn.Module, batch: Examples) -> Float[Tensor, ""]:
    """The mean cross-entropy ``L_CE`` of a batch, in nats."""
    batch = batch.to(device_of(model))
    return nn.functional.cross_entropy(logits(model, batch.inputs), batch.labels.long())


def accuracy(model: nn.Module, examples: Examples, batch_size: int = BATCH_SIZE) -> float:
    """The share of ``examples`` that the model classifies correctly, in evaluation mode."""
    device, hits = device_of(model), 0
    with observing(model):
        for batch in examples.batches(batch_size):
            predicted = logits(model, batch.inputs.to(device)).argmax(-1)
            hits += int((predicted == batch.labels.to(device)).sum())
    return hits / len(examples)


def class_count(model: nn.Module, examples: Examples) -> int:
    """How many classes the model tells apart, from the logits of one image.

    Raises:
        DataError: the model does not read images of this shape.
    """
    one = examples[:1].inputs
    try:
        with observing(model):
            return int(logits(model, one.to(device_of(model))).shape[-1])
    except (ValueError, RuntimeError) as error:
        raise DataError(
            f"{type(model).__name__} does not read images of shape {list(one.shape[1:])} ({one_line(error)}); resize "
            "them, or set 'size' in its preprocessor_config.json"
        ) from error


def reciprocal_ranks(found: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """1 over the place of each label's logit, from the largest."""
    own = found.gather(1, labels.cpu().long()[:, None])
    return 1.0 / (1 + (found > own).sum(-1)).double()


class HeadReading(NamedTuple):
    """Inputs and outputs of a classifier's head, on the CPU."""

    inputs: Float[Tensor, "n d"]
    logits: Float[Tensor, "n classes"]


def read_head(model: nn.Module, head: nn.Linear, examples: Examples, batch_size: int = BATCH_SIZE) -> HeadReading:
    """Forward every example once, in evaluation mode; ``head`` is the module that ``head_of`` finds."""
    caught: list[Tensor] = []
    handle = head.register_forward_pre_hook(
        lambda _, inputs: caught.append(inputs[0].detach().flatten(1).float().cpu())
    )
    device = device_of(model)
    with handle, observing(model):
        batches = examples.batches(batch_size)
        found = [logits(model, batch.inputs.to(device)).float().cpu() for batch in batches]
    return HeadReading(torch.cat(caught), torch.cat(found))


def head_of(model: nn.Module, examples: Examples) -> nn.Linear:
    """The linear layer whose output is the logits; failing that, the last one called with as many outputs.

    Raises:
        ModelError: there is no such layer.
    """
    called: list[tuple[nn.Linear, Tensor]] = []

    def keep(module: nn.Module, _: Any, output: Tensor) -> None:
        called.append((cast(nn.Linear, module), output.detach().float()))

    with observing(model), contextlib.ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.Linear):
                hooks.enter_context(module.register_forward_hook(keep))
        found = logits(model, examples[:1].inputs.to(device_of(model))).float()
    alike = [(module, output) for module, output in reversed(called) if output.shape == found.shape]
    if not alike:
        raise ModelError(f"{type(model).__name__} has no linear layer that could be its head; pass a classifier")
    return next((module for module, output in alike if torch.equal(output, found)), alike[0][0])
