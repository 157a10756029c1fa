"""A model's predictions of the labelled tokens: the one forward pass behind the losses of language methods."""

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
"""Examples of similar length to forward together on a CPU, so that little is computed for padding."""


class Predictions(NamedTuple):
    """The positions of a batch that predict a labelled token, flattened.

    Attributes:
        logits: at each position.
        targets: the token that each position should predict.
        rows: the index of each position's example.
        examples: number of examples.
    """

    logits: Float[Tensor, "tokens vocabulary"]
    targets: Int[Tensor, " tokens"]
    rows: Int[Tensor, " tokens"]
    examples: int

    def log_probabilities(self) -> Float[Tensor, " tokens"]:
        """Those of the labelled tokens, in nats."""
        return -nn.functional.cross_entropy(self.logits.float(), self.targets, reduction="none")

    def summed(self, values: Float[Tensor, " tokens"]) -> Float[Tensor, " n"]:
        """The sum of ``values`` over the tokens of each example."""
        return values.new_zeros(self.examples).index_add(0, self.rows, values)

    def lengths(self) -> Float[Tensor, " n"]:
        """Labelled tokens of each example; 1 where truncation has left none."""
        return torch.bincount(self.rows, minlength=self.examples).clamp_min(1).float()


def predicted_tokens(examples: Sequence[Encoded]) -> Float[Tensor, " n"]:
    """The number of predicted tokens of each example, at least 1: all with a label except the first token."""
    return torch.tensor([float(max(1, sum(label >= 0 for label in row.labels[1:]))) for row in examples])


def predicted(examples: Sequence[Encoded]) -> int:
    """The number of predicted tokens of all examples: all with a label except a first token."""
    return sum(label != IGNORED for row in examples for label in row.labels[1:])


def predict(model: nn.Module, examples: Sequence[Encoded], tokenizer: Any) -> Predictions:
    """Forward ``examples``, with gradients where enabled; on a CPU, those of similar length together."""
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
    """The summed log-probability of each example's labelled tokens, in nats, without gradients."""
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].input_ids))
    found = torch.zeros(len(examples), device=device_of(model))
    with observing(model):
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            predicted = predict(model, [examples[index] for index in indices], tokenizer)
            found[indices] = predicted.summed(predicted.log_probabilities())
    return found


def keeping(model: nn.Module, positions: int) -> dict[str, int]:
    """The arguments that limit a transformers model's logits to the last ``positions``, where it supports that."""
    shortens = "logits_to_keep" in inspect.signature(type(unwrapped(model)).forward).parameters
    return {"logits_to_keep": positions} if shortens else {}


def _forward(model: nn.Module, examples: Sequence[Encoded], tokenizer: Any) -> Predictions:
    batch = {name: value.to(device_of(model)) for name, value in padded(examples, tokenizer).items()}
    labels = batch.pop("labels")[:, 1:]
    counted = labels != IGNORED
    # with a large vocabulary, the prompt's logits would take more memory than everything else
    first = int(counted.any(0).int().argmax()) if bool(counted.any()) else 0
    tail = keeping(model, labels.shape[1] + 1 - first)
    with within_window(model):
        logits = model(**batch, use_cache=False, **tail).logits
    logits = logits[:, first - labels.shape[1] - 1 : -1]
    labels, counted = labels[:, first:], counted[:, first:]
    return Predictions(logits[counted], labels[counted], counted.nonzero()[:, 0], len(examples))
