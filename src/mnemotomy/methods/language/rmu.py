"""RMU: steer a layer's states on the forget set to a random direction, and keep them on the retain set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError, ModelError
from mnemotomy.core.modules import blocks_by_name, device_of, keeping_flags, observing
from mnemotomy.metabolism.probe import Layer, hidden_size, hidden_states, resolve_layer
from mnemotomy.methods.language.gradient import (
    EPOCHS,
    LEARNING_RATES,
    STRONG,
    RetainingMethod,
    StepLoss,
    forgotten,
    over_examples,
    retained,
)
from mnemotomy.methods.language.loop import Loss, Step
from mnemotomy.methods.language.losses import activation_distance
from mnemotomy.methods.language.predictions import keeping
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.registry import register
from mnemotomy.text.batches import padded
from mnemotomy.text.encoding import IGNORED, Encoded
from mnemotomy.training.adapter import unwrapped

BLOCKS = 3
"""Number of blocks that Li et al. train: the one whose output is steered, and the two before it."""


@register(
    "rmu",
    "RMU",
    "Li et al. 2024, The WMDP Benchmark: Measuring and Reducing Malicious Use With Unlearning",
    retain_losses=("NLL", "KL", "states"),
    grid={
        "learning_rate": LEARNING_RATES,
        "layer": (0.375, 0.6875, 1.0),
        "steering": (1.0, 10.0, 100.0),
        "epochs": EPOCHS,
    },
    small={"learning_rate": STRONG, "steering": (1.0, 10.0), "epochs": (3,)},
)
class RMU(RetainingMethod):
    """``γ E‖h − c u‖² / d + α E‖h − h_ref‖² / d`` at one layer, over the answers' tokens (Li et al. 2024, Eq. 1 to 3).

    ``u`` is one unit vector for all examples, scaled from entries drawn uniformly from [0, 1). OpenUnlearning's average
    mixes the lengths of different examples; here each example is divided by its own.

    Attributes:
        layer: the layer to steer: blocks passed, or a share of the depth. OpenUnlearning's layers 5, 10 and 15 of 16,
            counted from 0, are the shares 0.375, 0.6875 and 1.
        steering: ``c``, the length of the target.
        trains: ``down`` for the down projections of the three blocks up to the layer, as Li et al., or ``all`` weights
            before it. An adapter is trained whole.
        retain_loss: ``states``, as above; or ``NLL`` or ``KL`` on the answers.
    """

    layer: Layer = 0.5
    steering: float = 10.0
    trains: Literal["down", "all"] = "down"
    retain_loss: Literal["NLL", "KL", "states"] = "states"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trains not in ("down", "all"):
            raise ConfigurationError(f"trains is 'down' or 'all', not {self.trains!r}")
        if not self.steering > 0.0:
            raise ConfigurationError(f"steering is above 0, not {self.steering}")

    def minimise(
        self, loss: Loss, problem: TextProblem, model: nn.Module, folder: str | Path | None = None
    ) -> nn.Module:
        """As for every gradient method, with all other weights frozen meanwhile."""
        if self.trains == "all" or self.lora is not None:
            return super().minimise(loss, problem, model, folder)
        wanted = down_projections(model, self.layer)
        with keeping_flags(model):
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(parameter.requires_grad and name in wanted)
            return super().minimise(loss, problem, model, folder)

    def forgetting(self, problem: TextProblem) -> StepLoss:
        rows = forgotten(problem)
        draw = torch.Generator().manual_seed(problem.seed)
        direction = torch.rand(hidden_size(problem.model), generator=draw)
        aim = (self.steering * direction / direction.norm()).to(device_of(problem.model))

        def loss(model: nn.Module, step: Step) -> Tensor:
            states, counted = self._states(model, problem, rows(step))
            return activation_distance(states, aim, counted)

        return over_examples(loss)

    def retaining(self, problem: TextProblem) -> StepLoss:
        if self.retain_loss != "states":
            return super().retaining(problem)
        rows = retained(problem)

        def loss(model: nn.Module, step: Step) -> Tensor:
            chosen = rows(step)
            states, counted = self._states(model, problem, chosen)
            with observing(problem.model):
                before, _ = self._states(problem.model, problem, chosen)
            return activation_distance(states, before, counted)

        return over_examples(loss)

    def _states(self, model: nn.Module, problem: TextProblem, examples: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
        batch = {name: value.to(device_of(model)) for name, value in padded(examples, problem.tokenizer).items()}
        counted = batch.pop("labels") != IGNORED
        base = unwrapped(model)
        name = resolve_layer(base, self.layer)
        with hidden_states(base, [name]) as found:
            model(**batch, use_cache=False, **keeping(model, 1))
        return found[name], counted


def down_projections(model: nn.Module, layer: Layer) -> set[str]:
    """The weights of the down projections of the blocks up to ``layer``.

    Raises:
        ModelError: ``layer`` is not a block, or the blocks have no module named ``down_proj``.
    """
    blocks, name = list(blocks_by_name(model)), resolve_layer(model, layer)
    if name not in blocks:
        raise ModelError(f"{name!r} is not a block; give its number, or trains='all'")
    last = blocks.index(name) + 1
    chosen = tuple(f"{block}." for block in blocks[max(0, last - BLOCKS) : last])
    found = {key for key, _ in model.named_parameters() if key.startswith(chosen) and ".down_proj." in key}
    if not found:
        raise ModelError(f"the blocks of {type(model).__name__} have no 'down_proj'; give trains='all'")
    return found
