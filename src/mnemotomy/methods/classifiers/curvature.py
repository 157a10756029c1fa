"""Kronecker factors of a classifier over the examples that are to stay, from one forward and backward pass of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.core.errors import NonFiniteError, SelectionError
from mnemotomy.core.modules import device_of
from mnemotomy.curvature.kronecker import KroneckerFactor, KroneckerFactors, Side
from mnemotomy.data.examples import Examples
from mnemotomy.engram.collector import Collector
from mnemotomy.engram.products import add_gram_, full_precision, mirror_
from mnemotomy.engram.rows import RowLabels
from mnemotomy.engram.sites import Reading, select_sites
from mnemotomy.engram.sites.base import WeightAndBias
from mnemotomy.engram.sites.convolution import ConvolutionSite, TransposedConvolutionSite
from mnemotomy.engram.sites.linear import LinearSite, TransposedLinearSite
from mnemotomy.methods.classifiers.classifier import logits

REFERENCE = "reference"
_FACTORED = LinearSite | TransposedLinearSite | ConvolutionSite | TransposedConvolutionSite


def factored_sites(model: nn.Module) -> dict[str, WeightAndBias]:
    """The layers that have Kronecker factors here: linear ones and convolutions in one group.

    Raises:
        SelectionError: there is none.
    """
    sites = select_sites(model, "all").items()
    found: dict[str, WeightAndBias] = {n: s for n, s in sites if isinstance(s, _FACTORED) and s.groups == 1}
    if not found:
        raise SelectionError(f"{type(model).__name__} has no linear layer and no convolution in one group")
    return found


def kronecker_factors(
    model: nn.Module, sites: Mapping[str, WeightAndBias], examples: Examples, seed: int, batch_size: int
) -> KroneckerFactors:
    """The factors of the Fisher matrix per example, labels drawn from the model's own predictions.

    A convolution reads many rows of one example. A is the mean over rows and G the sum over those of one example, mean
    over examples: what one row says of the other is left out (Grosse & Martens 2016).

    Args:
        model: in evaluation mode; the weights of the sites require gradients.
        sites: of ``factored_sites``; those that the logits do not depend on, as an auxiliary head, have no factors.
        examples: the reference.
        seed: of the labels.
        batch_size: of the passes.

    Raises:
        NonFiniteError: the model overflows.
    """
    collector = InputCollector(model, sites, [REFERENCE], share=True, dtype=torch.float32)
    outputs: dict[str, Tensor] = {}
    draws, device = torch.Generator().manual_seed(seed), device_of(model)
    with full_precision(), collector.attached():
        for batch in examples.batches(batch_size):
            labels = RowLabels(torch.zeros(len(batch), dtype=torch.long), whole=0)
            with watched(model, sites) as (_, given), collector.batch(labels):
                found = logits(model, batch.inputs.to(device)).float()
            for name, gradient in gradients_at(given, found, drawn(found, draws)).items():
                add_output_(outputs, name, _rows(sites[name], gradient))
    reached = {name: site for name, site in sites.items() if name in outputs}
    return KroneckerFactors(factors_of(collector, reached, outputs, len(examples)), len(examples))


class InputCollector(Collector):
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


def add_output_(outputs: dict[str, Tensor], name: str, gradients: Float[Tensor, "rows out"]) -> None:
    """Add the rows of a gradient at what one site gave to its second moment, in float32; the upper triangle counts."""
    if name not in outputs:
        outputs[name] = gradients.new_zeros(gradients.shape[1], gradients.shape[1], dtype=torch.float32)
    add_gram_(outputs[name], gradients.float())


def factors_of(
    collector: Collector, sites: Mapping[str, WeightAndBias], outputs: Mapping[str, Tensor], count: int | None = None
) -> dict[str, KroneckerFactor]:
    """The factors of what was summed, one of A for each distinct input.

    Args:
        collector: of the inputs of ``REFERENCE``; A is their mean over rows.
        sites: of both.
        outputs: by ``add_output_``.
        count: what G is the mean over; the rows of the inputs by default.

    Raises:
        NonFiniteError: the model overflowed.
    """
    statistics = collector.statistics()
    inputs: dict[tuple[str, bool], Side] = {}
    found: dict[str, KroneckerFactor] = {}
    for name, site in sites.items():
        owner = collector.readers[name]
        moment, shared = statistics[owner][REFERENCE], (owner, site.has_bias)
        if shared not in inputs:
            moment.pack_()
            inputs[shared] = Side(moment.extended(site.has_bias) / moment.count)
        mirror_(outputs[name])
        found[name] = KroneckerFactor(inputs[shared], Side(outputs[name] / (count or moment.count)))
    return found


@contextlib.contextmanager
def watched(
    model: nn.Module, layers: Mapping[str, WeightAndBias]
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """By site, what it reads and what it gives in the one forward pass inside."""
    read: dict[str, Tensor] = {}
    given: dict[str, Tensor] = {}
    overwritten = any(getattr(module, "inplace", False) for module in model.modules())

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def keep(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            read[name], given[name] = arguments[0].detach(), output
            return output.clone() if overwritten else output  # else the gradient at it is that of what it became

        return keep

    handles = [site.module.register_forward_hook(hook(name)) for name, site in layers.items()]
    try:
        yield read, given
    finally:
        for handle in handles:
            handle.remove()


def _rows(site: WeightAndBias, gradient: Tensor) -> Float[Tensor, "rows out"]:
    """Channels of convolutions come second, those of linear layers last."""
    if not isinstance(site, LinearSite | TransposedLinearSite):
        gradient = gradient.flatten(2).transpose(1, 2)
    return gradient.flatten(0, -2)
