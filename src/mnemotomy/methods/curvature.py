"""Kronecker factors of a classifier over the examples that are to stay, from forward passes and one backward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.engram.collect import Collection, collect
from mnemotomy.engram.products import add_gram_, full_precision, mirror_
from mnemotomy.engram.sites import select_sites
from mnemotomy.engram.sites.base import WeightAndBias
from mnemotomy.engram.sites.convolution import ConvolutionSite, TransposedConvolutionSite
from mnemotomy.engram.sites.linear import LinearSite, TransposedLinearSite
from mnemotomy.errors import SelectionError
from mnemotomy.methods.classifier import logits
from mnemotomy.methods.kronecker import KroneckerFactor, KroneckerFactors, Spectrum
from mnemotomy.methods.problem import Examples
from mnemotomy.models import device_of

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
        sites: of ``factored_sites``.
        examples: the reference.
        seed: of the labels.
        batch_size: of the passes.

    Raises:
        NonFiniteError: the model overflows.
    """
    batches = {REFERENCE: (batch.inputs for batch in examples.batches(batch_size))}
    moments = collect(model, batches, sites=list(sites), options=Collection(progress=False))
    outputs: dict[str, Tensor] = {}
    draws, device = torch.Generator().manual_seed(seed), device_of(model)
    with full_precision():
        for batch in examples.batches(batch_size):
            with watched(sites) as (_, given):
                found = logits(model, batch.inputs.to(device)).float()
            drawn = torch.multinomial(found.detach().softmax(-1).cpu(), 1, generator=draws)[:, 0].to(device)
            loss = nn.functional.cross_entropy(found, drawn, reduction="sum")
            for name, gradient in zip(given, torch.autograd.grad(loss, list(given.values())), strict=True):
                rows = _rows(sites[name], gradient)
                if name not in outputs:
                    outputs[name] = rows.new_zeros(rows.shape[1], rows.shape[1])
                add_gram_(outputs[name], rows)
    factors: dict[str, KroneckerFactor] = {}
    for name, site in sites.items():
        moment = moments.moment(name, REFERENCE)
        inputs = moment.extended(site.has_bias).to(outputs[name]) / moment.count
        mirror_(outputs[name])
        factors[name] = KroneckerFactor(Spectrum.of(inputs), Spectrum.of(outputs[name] / len(examples)))
    return KroneckerFactors(factors, len(examples))


@contextlib.contextmanager
def watched(layers: Mapping[str, WeightAndBias]) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """By site, what it reads and what it gives in the one forward pass inside."""
    read: dict[str, Tensor] = {}
    given: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            read[name], given[name] = arguments[0].detach(), output

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
    return gradient.flatten(0, -2).float()
