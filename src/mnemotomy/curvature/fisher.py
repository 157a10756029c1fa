"""What Kronecker factors are summed from, pass by pass: what a layer reads, and the loss' gradient at what it gives.

K-FAC is our own, and not that of curvlinops, because rows may be masked (it knows no padding in a batch of texts),
layers that read one tensor share one A (``engram.collector``), and transposed convolutions have factors too. Where
curvlinops can do the same, it is the oracle of the tests.
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
    """By site, what it read and what it gave in one forward pass."""

    read: dict[str, Tensor]
    given: dict[str, Tensor]


class FactorSums:
    """Second moments of what sites read and of gradients at what they give, in float32.

    Args:
        model: in evaluation mode; the weights of the sites require gradients.
        sites: those that the loss does not depend on, as an auxiliary head, have no factors.
    """

    def __init__(self, model: nn.Module, sites: Mapping[str, WeightAndBias]) -> None:
        self._model, self._sites = model, sites
        self._collector = _InputCollector(model, sites, [REFERENCE], share=True, dtype=torch.float32)
        self._outputs: dict[str, Tensor] = {}

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Inside, passes may be watched."""
        with full_precision(), self._collector.attached():
            yield

    @contextlib.contextmanager
    def forward(self, labels: RowLabels) -> Iterator[Watched]:
        """Around one forward pass, of whose inputs those rows are added that ``labels`` count."""
        with watched(self._model, self._sites) as seen, self._collector.batch(labels):
            yield seen

    def add(self, name: str, gradients: Float[Tensor, "rows out"]) -> None:
        """Add the rows of a gradient at what one site gave; the upper triangle counts."""
        if name not in self._outputs:
            size = gradients.shape[1]
            self._outputs[name] = gradients.new_zeros(size, size, dtype=torch.float32)
        add_gram_(self._outputs[name], gradients.float())

    def factors(self, count: int | None = None) -> KroneckerFactors:
        """The factors, one of A for each distinct input, of the sites that had gradients.

        Args:
            count: what G is the mean over; the rows of the inputs, which A is the mean over, by default.

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
    """Sums over inputs that belong to a graph, of which the sums are to be no part."""

    def _observe(self, name: str, reading: Reading) -> None:
        with torch.no_grad():
            super()._observe(name, replace(reading, tensor=reading.tensor.detach()))


def drawn(scores: Float[Tensor, "n classes"], draws: torch.Generator, smoothing: float = 0.0) -> Int[Tensor, " n"]:
    """A class for each row, from the model's prediction; a share of ``smoothing`` from all classes alike.

    Raises:
        NonFiniteError: the predictions are not finite.
    """
    if not bool(torch.isfinite(scores).all()):
        raise NonFiniteError("the model's predictions are not finite; try float32 or bfloat16 weights, or others")
    shares = scores.detach().float().softmax(-1).cpu()
    shares = (1.0 - smoothing) * shares + smoothing / shares.shape[-1]
    return torch.multinomial(shares, 1, generator=draws)[:, 0].to(scores.device)


def gradients_at(
    given: Mapping[str, Tensor], scores: Float[Tensor, "n classes"], targets: Int[Tensor, " n"]
) -> dict[str, Tensor]:
    """By site, the gradient of the summed cross-entropy at what it gave; of those that the scores depend on."""
    loss = nn.functional.cross_entropy(scores.float(), targets, reduction="sum")
    found = torch.autograd.grad(loss, list(given.values()), allow_unused=True) if given else ()
    return {name: gradient for name, gradient in zip(given, found, strict=True) if gradient is not None}


@contextlib.contextmanager
def watched(model: nn.Module, sites: Mapping[str, WeightAndBias]) -> Iterator[Watched]:
    """What the sites read and give in the one forward pass inside."""
    seen = Watched({}, {})
    overwritten = any(getattr(module, "inplace", False) for module in model.modules())

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def keep(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            seen.read[name], seen.given[name] = arguments[0].detach(), output
            return output.clone() if overwritten else output  # else the gradient at it is that of what it became

        return keep

    handles = [site.module.register_forward_hook(hook(name)) for name, site in sites.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
