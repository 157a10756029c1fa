"""Metabolic energy (Section 3.2): how much the hidden states of entities depend on the weights.

The paper calls ``Σ_l ‖∂h_l/∂w · I(x ∈ Entities)‖²_F`` intractable, which it is exactly. An estimate is not: for v of
independent standard normal entries, ``E ‖∂(vᵀh_l)/∂w‖² = ‖∂h_l/∂w‖²_F`` (Hutchinson 1989), at one backward pass per v.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.core.errors import DataError, ModelError, NonFiniteError, SelectionError
from mnemotomy.core.modules import observing


@dataclass(frozen=True)
class EnergyEstimate:
    """Estimates of ``‖∂h_l/∂w‖²_F`` by layer, per position of an entity.

    Attributes:
        energy: the mean over the random vectors.
        standard_error: of that mean.
        positions: number of positions of entities.
        samples: number of random vectors.
    """

    energy: dict[int, float]
    standard_error: dict[int, float]
    positions: int
    samples: int

    @property
    def total(self) -> float:
        """The sum over the layers: the loss of Section 3.2."""
        return sum(self.energy.values())


def metabolic_energy(
    model: nn.Module,
    batch: dict[str, Tensor],
    layers: Sequence[int],
    positions: Sequence[Sequence[int]],
    *,
    samples: int = 8,
    seed: int = 0,
    parameters: Collection[str] | None = None,
) -> EnergyEstimate:
    """Estimate the energy of the entities in a batch, in evaluation mode; the model is not changed.

    Args:
        model: a transformers model.
        batch: the model's inputs, ``input_ids [batch, length]`` and perhaps a mask.
        layers: of the hidden states as transformers counts them: 0 is the embedding's output, l that of block l.
        positions: of the entity's tokens, for each row of the batch.
        samples: random vectors per layer; the relative standard error falls with its square root.
        seed: of the random vectors; each layer gets the same ones, whichever other layers are requested.
        parameters: names of the weights w; by default all that require a gradient.

    Raises:
        DataError: a position or a layer does not exist, or there are fewer than two samples.
        SelectionError: a parameter is unknown.
        ModelError: no parameter requires a gradient, or the model returns no hidden states.
        NonFiniteError: an estimate is NaN or infinite.
    """
    if samples < 2:
        raise DataError("an estimate with a standard error needs at least two samples")
    if not layers:
        raise DataError("name at least one layer to estimate the energy of")
    rows, columns = _places(positions, batch["input_ids"])
    weights = _weights(model, parameters)
    energy: dict[int, float] = {}
    error: dict[int, float] = {}
    with observing(model), torch.enable_grad():
        states = _states(model, batch)
        for layer in layers:
            if not 0 <= layer < len(states):
                raise DataError(f"there is no layer {layer}: the model has hidden states 0 to {len(states) - 1}")
            drawn = _squared_norms(states[layer][rows, columns], weights, samples, seed) / len(rows)
            if not torch.isfinite(drawn).all():
                raise NonFiniteError(f"the energy of layer {layer} is NaN or infinite")
            energy[layer] = float(drawn.mean())
            error[layer] = float(drawn.std()) / math.sqrt(samples)
    return EnergyEstimate(energy, error, len(rows), samples)


def _squared_norms(
    states: Float[Tensor, "k d"], weights: Sequence[Tensor], samples: int, seed: int
) -> Float[Tensor, " samples"]:
    """``‖∂⟨v, h⟩/∂w‖²`` for each random v, in float64."""
    generator = torch.Generator().manual_seed(seed)
    norms = torch.zeros(samples, dtype=torch.float64)
    if not states.requires_grad:  # no selected weight lies before this layer
        return norms
    for sample in range(samples):
        direction = torch.randn(states.shape, generator=generator).to(states)
        found = torch.autograd.grad(states, weights, direction, retain_graph=True, allow_unused=True)
        norms[sample] = sum(float(part.double().square().sum()) for part in found if part is not None)
    return norms


def _places(
    positions: Sequence[Sequence[int]], ids: Int[Tensor, "batch length"]
) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
    """The row and the column of each position."""
    if len(positions) != len(ids):
        raise DataError(f"{len(ids)} rows came with the positions of {len(positions)}; give each row its own")
    pairs = [(row, column) for row, found in enumerate(positions) for column in found]
    outside = [column for _, column in pairs if not 0 <= column < ids.shape[1]]
    if outside:
        raise DataError(f"the batch is {ids.shape[1]} tokens long, so there is no position {outside[0]}")
    if not pairs:
        raise DataError("no row has a position of an entity")
    rows, columns = torch.tensor(pairs, device=ids.device).T
    return rows, columns


def _weights(model: nn.Module, names: Collection[str] | None) -> list[Tensor]:
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise ModelError("no parameter requires a gradient; call model.requires_grad_() first")
    unknown = sorted(set(names or ()) - set(trainable))
    if unknown:
        raise SelectionError(f"the model has no parameter {unknown[0]!r} that requires a gradient")
    chosen = [parameter for name, parameter in trainable.items() if names is None or name in names]
    if not chosen:
        raise SelectionError("no parameter is selected; leave 'parameters' out to take all")
    return list(chosen)


def _states(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
    output: Any = model(**batch, use_cache=False, output_hidden_states=True)
    states = getattr(output, "hidden_states", None)
    if not states:
        raise ModelError(f"{type(model).__name__} returns no hidden states")
    return tuple(states)
