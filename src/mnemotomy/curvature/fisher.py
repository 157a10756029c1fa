"""The sums behind Kronecker factors, pass by pass: a layer's inputs, and the gradient of the loss at its outputs.

Why not curvlinops: here rows may be masked (it knows no padding in a batch of texts), layers that read one tensor
share one A (``engram.collector``), and transposed convolutions have factors too. Where curvlinops can do the same, the
tests compare with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.core.errors import NonFiniteError
from mnemotomy.curvature.kronecker import KroneckerFactor, KroneckerFactors, Side
from mnemotomy.engram.collector import Collector
from mnemotomy.engram.products import add_gram_, full_precision, mirror_
from mnemotomy.engram.rows import RowLabels
from mnemotomy.engram.sites import Reading
from mnemotomy.engram.sites.base import WeightAndBias

REFERENCE = "reference"


class Watched(NamedTuple):
    """By site, its inputs and its outputs in one forward pass."""

    read: dict[str, Tensor]
    given: dict[str, Tensor]


class FactorSums:
    """Second moments of the inputs of sites and of gradients at their outputs, in float32.

    Args:
        model: in evaluation mode; the weights of the sites require gradients.
        sites: those that the loss does not depend on, such as an auxiliary head, get no factors.
    """

    def __init__(self, model: nn.Module, sites: Mapping[str, WeightAndBias]) -> None:
        self._model, self._sites = model, sites
        self._collector = _InputCollector(model, sites, [REFERENCE], share=True, dtype=torch.float32)
        self._outputs: dict[str, Tensor] = {}

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Inside, forward passes can be watched."""
        with full_precision(), self._collector.attached():
            yield

    @contextlib.contextmanager
    def forward(self, labels: RowLabels) -> Iterator[Watched]:
        """Around one forward pass: adds the rows of its inputs that ``labels`` count."""
        with watched(self._model, self._sites) as seen, self._collector.batch(labels):
            yield seen

    def add(self, name: str, gradients: Float[Tensor, "rows out"]) -> None:
        """Add the rows of a gradient at the outputs of one site; only the upper triangle is kept."""
        if name not in self._outputs:
            size = gradients.shape[1]
            self._outputs[name] = gradients.new_zeros(size, size, dtype=torch.float32)
        add_gram_(self._outputs[name], gradients.float())

    def factors(self, count: int | None = None) -> KroneckerFactors:
        """The factors of the sites that had gradients, with one A for each distinct input.

        Args:
            count: of rows that G is the mean over; by default the rows of the inputs, as for A.

        Raises:
            NonFiniteError: the model overflowed.
        """
        self._collector.settle()
        statistics = self._collector.statistics()
        inputs: dict[tuple[str, bool], Side] = {}
        found: dict[str, KroneckerFactor] = {}
        rows = count or 0
        for name, site in self._sites.items():
            if name not in self._outputs:
                continue
            owner = self._collector.readers[name]
            moment, shared = statistics[owner][REFERENCE], (owner, site.has_bias)
            if shared not in inputs:
                inputs[shared] = Side(moment.extended(site.has_bias) / moment.count)
            rows = rows or moment.count
            mirror_(self._outputs[name])
            found[name] = KroneckerFactor(inputs[shared], Side(self._outputs[name] / (count or moment.count)))
        return KroneckerFactors(found, rows)


class _InputCollector(Collector):
    """Sums over inputs that belong to a graph, without becoming part of it."""

    def _observe(self, name: str, reading: Reading) -> None:
        with torch.no_grad():
            super()._observe(name, replace(reading, tensor=reading.tensor.detach()))


def drawn(scores: Float[Tensor, "n classes"], draws: torch.Generator, smoothing: float = 0.0) -> Int[Tensor, " n"]:
    """A class for each row, from the model's prediction mixed with a share ``smoothing`` of the uniform one.

    Raises:
        NonFiniteError: the predictions are not finite.
    """
    if not bool(torch.isfinite(scores).all()):
        raise NonFiniteError("the model's predictions are not finite; try float32 or bfloat16 weights")
    shares = scores.detach().float().softmax(-1).cpu()
    shares = (1.0 - smoothing) * shares + smoothing / shares.shape[-1]
    return torch.multinomial(shares, 1, generator=draws)[:, 0].to(scores.device)


def gradients_at(
    given: Mapping[str, Tensor], scores: Float[Tensor, "n classes"], targets: Int[Tensor, " n"]
) -> dict[str, Tensor]:
    """By site, the gradient of the summed cross-entropy at its outputs, if the scores depend on them."""
    loss = nn.functional.cross_entropy(scores.float(), targets, reduction="sum")
    found = torch.autograd.grad(loss, list(given.values()), allow_unused=True) if given else ()
    return {name: gradient for name, gradient in zip(given, found, strict=True) if gradient is not None}


@contextlib.contextmanager
def watched(model: nn.Module, sites: Mapping[str, WeightAndBias]) -> Iterator[Watched]:
    """The inputs and outputs of the sites in the one forward pass inside."""
    seen = Watched({}, {})
    overwritten = any(getattr(module, "inplace", False) for module in model.modules())

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def keep(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            seen.read[name], seen.given[name] = arguments[0].detach(), output
            return output.clone() if overwritten else output  # to get the gradient before overwriting

        return keep

    handles = [site.module.register_forward_hook(hook(name)) for name, site in sites.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
