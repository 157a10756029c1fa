"""Changed copies of a model: taught a little, rounded, pruned, with noise. The model itself stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import Precision, autocast
from mnemotomy.core.seeds import seeded
from mnemotomy.methods.language.predictions import predict
from mnemotomy.text.encoding import Encoded
from mnemotomy.training.adapter import LoRA, unwrapped, with_adapter
from mnemotomy.training.loop import Run, Update, train
from mnemotomy.training.optimiser import Optimiser

Watch = Callable[[int, nn.Module], None]


@dataclass(frozen=True)
class Teaching:
    """AdamW without weight decay on the predicted tokens of a few examples.

    Attributes:
        steps: updates.
        learning_rate: of all of them.
        batch_size: examples per update, in their order, again and again; None for all.
        lora: train an adapter instead of all weights.
        seed: of the adapter.
        precision: of the passes; the weights themselves stay in float32.
    """

    steps: int = 10
    learning_rate: float = 3e-4
    batch_size: int | None = None
    lora: LoRA | None = None
    seed: int = 0
    precision: Precision = "no"


def taught(
    model: nn.Module, rows: Sequence[Encoded], tokenizer: Any, teaching: Teaching, watch: Watch | None = None
) -> nn.Module:
    """A copy trained on ``rows``, in evaluation mode; in float32 if the model's numbers are too narrow for training.

    Args:
        rows: what to teach.
        teaching: how.
        watch: called with the number of updates and the model after every update.

    Raises:
        TrainingError: a loss or weight is not finite.
    """
    learner = copy.deepcopy(model).eval().requires_grad_(True)
    if any(one.dtype in (torch.bfloat16, torch.float16) for one in learner.parameters()):
        learner.float()
    with seeded(teaching.seed, device_of(model)):
        wrapped = with_adapter(learner, teaching.lora)
    learner = unwrapped(wrapped)
    trained = [one for one in learner.parameters() if one.requires_grad]
    around = partial(autocast, device_of(learner), teaching.precision, backward=True)
    optimizer = torch.optim.AdamW(trained, lr=teaching.learning_rate, weight_decay=0.0)
    size = min(teaching.batch_size or len(rows), len(rows))

    def updates(*_: Any) -> Iterator[Update[Sequence[Encoded]]]:
        for step in range(teaching.steps):
            yield Update([[rows[(step * size + place) % len(rows)] for place in range(size)]])
            if watch is not None:  # the update is done when the next one is asked for
                watch(step + 1, learner)

    train(
        learner,
        updates,
        lambda model, rows: -predict(model, rows, tokenizer).log_probabilities().mean(),
        Optimiser(optimizer),
        Run("relearning", epochs=1, updates=teaching.steps, evaluating=True, progress=False, around=around),
    )
    return learner


def quantised(model: nn.Module, bits: int) -> nn.Module:
    """A copy whose matrices have at most ``2^bits − 1`` values per output channel, still in floating point.

    Round to nearest on a symmetric scale: the largest weight of a row is the largest integer. As usual, the
    embedding and the output head are not quantised.
    """
    return _changed(model, lambda weight: round_to_nearest(weight, bits))


def quantised_by_torchao(model: nn.Module) -> nn.Module:
    """A copy with linear layers in 8 bits as torchao serves them; embedding and output head stay as they are.

    Its 4 bits run on some GPUs only.
    """
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    found = copy.deepcopy(model)
    head = cast(Any, found).get_output_embeddings()
    quantize_(found, Int8WeightOnlyConfig(), lambda one, _: isinstance(one, nn.Linear) and one is not head)
    return found


def pruned(model: nn.Module, share: float) -> nn.Module:
    """A copy without the smallest weights of each matrix."""

    def prune(weight: Tensor) -> Tensor:
        count = int(share * weight.numel())
        least = weight.abs().flatten().kthvalue(count).values if count else -1.0
        return weight.where(weight.abs() > least, 0.0)

    return _changed(model, prune)


def with_noise(model: nn.Module, scale: float, seed: int) -> nn.Module:
    """A copy with Gaussian noise on each matrix, ``scale`` times the root mean square of its weights."""
    generator = torch.Generator().manual_seed(seed)

    def shake(weight: Tensor) -> Tensor:
        noise = torch.randn(weight.shape, generator=generator).to(weight)
        return weight + scale * weight.square().mean().sqrt() * noise

    return _changed(model, shake)


def round_to_nearest(weight: Float[Tensor, "out d"], bits: int) -> Float[Tensor, "out d"]:
    """Every row on its own symmetric grid of ``bits`` bits."""
    largest = 2 ** (bits - 1) - 1
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny) / largest
    return (weight / scale).round().clamp(-largest, largest) * scale


def _changed(model: nn.Module, change: Callable[[Float[Tensor, "out d"]], Float[Tensor, "out d"]]) -> nn.Module:
    """A copy with other matrices, convolutions among them; embedding and output head of a text model are the same."""
    found = copy.deepcopy(model)
    head = cast(Any, found).get_output_embeddings() if hasattr(found, "get_output_embeddings") else None
    with torch.no_grad():
        for module in found.modules():
            if isinstance(module, nn.Linear) and module is not head:
                module.weight.copy_(change(module.weight))
            elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
                module.weight.copy_(change(module.weight.flatten(1)).view_as(module.weight))
            elif isinstance(module, Conv1D):  # GPT-2's linear layer, which keeps its weight transposed
                module.weight.copy_(change(module.weight.T).T)
    return found
