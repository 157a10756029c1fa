"""What unlearning a fact does to reasoning, to first order: the assumption and bounds of Section 3.1, measured."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import DataError, ModelError, NonFiniteError
from mnemotomy.core.modules import observing

Loss = Callable[[nn.Module], Tensor]
"""A scalar that depends on the model's parameters, such as the mean loss of a batch."""

Gradients = dict[str, Tensor]

_BLOCK = re.compile(r"(?:^|\.)(\d+)\.")


@dataclass(frozen=True)
class Alignment:
    """How one gradient relates to that of the logic loss.

    Attributes:
        cosine: of the angle between them; NaN if one of them vanishes.
        norm: of the loss' gradient.
        logic_norm: of the logic loss' gradient.
    """

    cosine: float
    norm: float
    logic_norm: float

    @property
    def bound(self) -> float:
        """``|cos| · ‖∇L‖ · ‖∇L_logic‖``: the change of the logic loss per unit of a step along ``∇L``."""
        return 0.0 if math.isnan(self.cosine) else abs(self.cosine) * self.norm * self.logic_norm


@dataclass(frozen=True)
class GradientReport:
    """Assumption 3.1, measured: the gradients of the fact and of the logic loss.

    Attributes:
        overall: over all parameters; its ``|cosine|`` is the paper's δ.
        blocks: by the number of the block in the parameters' names, or by the module that holds them outside of blocks.
    """

    overall: Alignment
    blocks: dict[str, Alignment]

    def records(self) -> list[dict[str, str | float]]:
        """One record per block with ``block``, ``cosine``, ``fact_norm`` and ``logic_norm``; a table for pandas."""
        return [
            {"block": block, "cosine": part.cosine, "fact_norm": part.norm, "logic_norm": part.logic_norm}
            for block, part in self.blocks.items()
        ]


@dataclass(frozen=True)
class BoundCheck:
    """A bound on the change of the logic loss, beside the change itself.

    Attributes:
        scale: of the step: the learning rate η.
        change: ``L_logic(θ + Δθ) − L_logic(θ)``, measured.
        first_order: ``⟨∇L_logic, Δθ⟩``, with its sign.
        bound: what the paper bounds ``|first_order|`` by.
        remainder: ``|change − first_order|``: what the paper writes as O(η²).
        half_remainder: the same for half the step.
        components: how the gradient of each loss in the step lies to that of the logic loss.
    """

    scale: float
    change: float
    first_order: float
    bound: float
    remainder: float
    half_remainder: float
    components: dict[str, Alignment]

    @property
    def measured(self) -> float:
        """``|ΔL_logic|``."""
        return abs(self.change)

    @property
    def remainder_ratio(self) -> float:
        """4 where the remainder is of second order; far from it, the step is too long, or so short that it rounds."""
        return self.remainder / self.half_remainder if self.half_remainder else math.nan


def gradient_cosines(model: nn.Module, fact_loss: Loss, logic_loss: Loss) -> GradientReport:
    """Measure Assumption 3.1 block by block, over the parameters that require a gradient.

    The losses are taken in evaluation mode; weights, gradients and mode are left as they were.

    Raises:
        ModelError: no parameter requires a gradient, or a loss does not depend on any.
        NonFiniteError: a gradient is NaN or infinite.
    """
    with _evaluating(model):
        fact, logic = gradients(model, fact_loss), gradients(model, logic_loss)
    groups: dict[str, list[str]] = {}
    for name in logic:
        groups.setdefault(_block(name), []).append(name)
    return GradientReport(
        overall=_alignment(fact, logic, list(logic)),
        blocks={block: _alignment(fact, logic, names) for block, names in groups.items()},
    )


def bound_of_proposition(model: nn.Module, fact_loss: Loss, logic_loss: Loss, learning_rate: float) -> BoundCheck:
    """Proposition 3.2: what a step ``Δθ = −η ∇L_fact`` does to the logic loss, and what bounds it.

    A remainder below about 1e-7 of the loss is rounding: transformers computes norms, attention and its own ``loss`` in
    float32 even where the weights are float64. Take a longer step then.

    Raises:
        DataError, ModelError, NonFiniteError: as ``bound_of_corollary``.
    """
    return bound_of_corollary(model, {"fact": (-1.0, fact_loss)}, logic_loss, learning_rate)


def bound_of_corollary(
    model: nn.Module, losses: Mapping[str, tuple[float, Loss]], logic_loss: Loss, scale: float
) -> BoundCheck:
    """Corollary 3.4: what a composite step ``Δθ = scale · Σ αᵢ ∇Lᵢ`` does to the logic loss, and what bounds it.

    The losses are taken in evaluation mode; weights (bit for bit), gradients and mode are left as they were.

    Args:
        model: with parameters that require a gradient.
        losses: by name, each with its coefficient αᵢ: negative to descend.
        logic_loss: what must not change.
        scale: of the whole step; it is taken once in full and once by half.

    Raises:
        DataError: there are no losses, or the scale is not above 0.
        ModelError: no parameter requires a gradient, or a loss does not depend on any.
        NonFiniteError: a gradient, or the logic loss after the step, is NaN or infinite.
    """
    if not losses:
        raise DataError("a composite step needs at least one loss")
    if not (scale > 0.0 and math.isfinite(scale)):
        raise DataError(f"the scale of a step must be above 0, not {scale}")
    with _evaluating(model):
        logic = gradients(model, logic_loss)
        step: Gradients = {name: torch.zeros_like(gradient) for name, gradient in logic.items()}
        components: dict[str, Alignment] = {}
        for label, (coefficient, loss) in losses.items():
            gradient = gradients(model, loss)
            components[label] = _alignment(gradient, logic, list(logic))
            for name, direction in step.items():
                direction.add_(gradient[name], alpha=coefficient)
        slope = _product(step, logic, list(logic))
        before = _value(model, logic_loss)
        change, half = (_value_after(model, step, size, logic_loss) - before for size in (scale, scale / 2))
    return BoundCheck(
        scale=scale,
        change=change,
        first_order=scale * slope,
        bound=scale * sum(abs(losses[label][0]) * part.bound for label, part in components.items()),
        remainder=abs(change - scale * slope),
        half_remainder=abs(half - scale / 2 * slope),
        components=components,
    )


def gradients(model: nn.Module, loss: Loss) -> Gradients:
    """The gradient of a loss by parameter name, zero where it does not depend on one; ``.grad`` stays untouched.

    Raises:
        ModelError: no parameter requires a gradient, or the loss does not depend on any.
        NonFiniteError: a gradient is NaN or infinite.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not parameters:
        raise ModelError("no parameter requires a gradient; call model.requires_grad_() first")
    value = loss(model)
    if value.ndim or not value.requires_grad:
        raise ModelError("a loss must be one number that depends on the model's parameters, computed with gradients")
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    result = {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(parameters.items(), found, strict=True)
    }
    for name, gradient in result.items():
        if not torch.isfinite(gradient).all():
            raise NonFiniteError(f"the gradient of {name} is NaN or infinite")
    return result


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off, so that a loss is a function of the weights alone, and gradients on."""
    with observing(model), torch.enable_grad():
        yield


def _block(name: str) -> str:
    match = _BLOCK.search(name)
    return match.group(1) if match else name.rpartition(".")[0] or name


def _product(left: Gradients, right: Gradients, names: list[str]) -> float:
    """The inner product over these parameters, in float64."""
    return float(sum((left[name].double() * right[name].double()).sum() for name in names))


def _alignment(gradient: Gradients, logic: Gradients, names: list[str]) -> Alignment:
    norm, logic_norm = (math.sqrt(_product(one, one, names)) for one in (gradient, logic))
    product = _product(gradient, logic, names)
    return Alignment(product / (norm * logic_norm) if norm and logic_norm else math.nan, norm, logic_norm)


def _value(model: nn.Module, loss: Loss) -> float:
    with torch.no_grad():
        return float(loss(model))


def _value_after(model: nn.Module, step: Gradients, size: float, loss: Loss) -> float:
    """The loss after a step, with the weights put back bit for bit."""
    parameters = {name: parameter for name, parameter in model.named_parameters() if name in step}
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    try:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.add_(step[name], alpha=size)
        value = _value(model, loss)
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(before[name])
    if not math.isfinite(value):
        raise NonFiniteError(f"the logic loss is {value} after a step of {size:g}; use a shorter one")
    return value
