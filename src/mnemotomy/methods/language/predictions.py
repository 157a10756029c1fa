"""What a model says of the tokens that count: the one forward pass that the losses of language methods read."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.core.modules import device_of, observing, within_window
from mnemotomy.text.batches import padded
from mnemotomy.text.encoding import IGNORED, Encoded
from mnemotomy.training.adapter import unwrapped

ROWS_AT_ONCE = 8
"""On a CPU: examples of like length that are forwarded together, so that little is computed for padding."""


class Predictions(NamedTuple):
    """The positions of a batch that predict a labelled token, one after the other.

    Attributes:
        logits: at each of them.
        targets: the token that each should predict.
        rows: the number of the example that each belongs to.
        examples: how many there are.
    """

    logits: Float[Tensor, "tokens vocabulary"]
    targets: Int[Tensor, " tokens"]
    rows: Int[Tensor, " tokens"]
    examples: int

    def log_probabilities(self) -> Float[Tensor, " tokens"]:
        """Of the labelled tokens, in nats."""
        return -nn.functional.cross_entropy(self.logits.float(), self.targets, reduction="none")

    def summed(self, values: Float[Tensor, " tokens"]) -> Float[Tensor, " n"]:
        """The sum of ``values`` over the tokens of each example."""
        return values.new_zeros(self.examples).index_add(0, self.rows, values)

    def lengths(self) -> Float[Tensor, " n"]:
        """Labelled tokens of each example; 1 where cutting has left none."""
        return torch.bincount(self.rows, minlength=self.examples).clamp_min(1).float()


def predicted_tokens(examples: Sequence[Encoded]) -> Float[Tensor, " n"]:
    """How many labelled tokens of each example are predicted, all but a first one; 1 where that leaves none."""
    return torch.tensor([float(max(1, sum(label >= 0 for label in row.labels[1:]))) for row in examples])


def predicted(examples: Sequence[Encoded]) -> int:
    """How many tokens of the examples are predicted: all that have a label but a first one."""
    return sum(label != IGNORED for row in examples for label in row.labels[1:])


def predict(model: nn.Module, examples: Sequence[Encoded], tokenizer: Any) -> Predictions:
    """Forward ``examples``, with gradients where they are on.

    On a CPU, examples of like length go together; the sums over all of them are the same.
    """
    device = device_of(model)
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].input_ids))
    size = ROWS_AT_ONCE if device.type == "cpu" else len(order)
    parts = [
        _forward(model, [examples[index] for index in order[start : start + size]], tokenizer)
        for start in range(0, len(order), size)
    ]
    numbers = torch.tensor(order, device=device)
    rows = [numbers[start * size + part.rows] for start, part in enumerate(parts)]
    return Predictions(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.targets for part in parts]),
        torch.cat(rows),
        len(examples),
    )


def sequence_log_probabilities(
    model: nn.Module, examples: Sequence[Encoded], tokenizer: Any, batch_size: int = 32
) -> Float[Tensor, " n"]:
    """The log-probability of each example's labelled tokens together, in nats, without gradients."""
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].input_ids))
    found = torch.zeros(len(examples), device=device_of(model))
    with observing(model):
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            predicted = predict(model, [examples[index] for index in indices], tokenizer)
            found[indices] = predicted.summed(predicted.log_probabilities())
    return found


def keeping(model: nn.Module, positions: int) -> dict[str, int]:
    """What tells a model of transformers to compute the logits of the last ``positions`` alone, where it can."""
    shortens = "logits_to_keep" in inspect.signature(type(unwrapped(model)).forward).parameters
    return {"logits_to_keep": positions} if shortens else {}


def _forward(model: nn.Module, examples: Sequence[Encoded], tokenizer: Any) -> Predictions:
    batch = {name: value.to(device_of(model)) for name, value in padded(examples, tokenizer).items()}
    labels = batch.pop("labels")[:, 1:]
    counted = labels != IGNORED
    # the prompt's logits would outweigh everything else for a large vocabulary
    first = int(counted.any(0).int().argmax()) if bool(counted.any()) else 0
    tail = keeping(model, labels.shape[1] + 1 - first)
    with within_window(model):
        logits = model(**batch, use_cache=False, **tail).logits
    logits = logits[:, first - labels.shape[1] - 1 : -1]
    labels, counted = labels[:, first:], counted[:, first:]
    return Predictions(logits[counted], labels[counted], counted.nonzero()[:, 0], len(examples))
