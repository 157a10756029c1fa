"""Kronecker factors of a classifier over the retain set, from one forward and backward pass."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import SelectionError
from mnemotomy.core.modules import device_of
from mnemotomy.curvature.fisher import FactorSums, drawn, gradients_at
from mnemotomy.curvature.kronecker import KroneckerFactors
from mnemotomy.data.examples import Examples
from mnemotomy.engram.rows import RowLabels
from mnemotomy.engram.sites import select_sites
from mnemotomy.engram.sites.base import WeightAndBias
from mnemotomy.engram.sites.convolution import ConvolutionSite, TransposedConvolutionSite
from mnemotomy.engram.sites.linear import LinearSite, TransposedLinearSite
from mnemotomy.methods.classifiers.classifier import logits

_FACTORED = LinearSite | TransposedLinearSite | ConvolutionSite | TransposedConvolutionSite


def factored_sites(model: nn.Module) -> dict[str, WeightAndBias]:
    """The layers with Kronecker factors: linear layers and ungrouped convolutions.

    Raises:
        SelectionError: there is no such layer.
    """
    sites = select_sites(model, "all").items()
    found: dict[str, WeightAndBias] = {n: s for n, s in sites if isinstance(s, _FACTORED) and s.groups == 1}
    if not found:
        raise SelectionError(
            f"{type(model).__name__} has no linear layer and no ungrouped convolution; pass a model with one"
        )
    return found


def kronecker_factors(
    model: nn.Module, sites: Mapping[str, WeightAndBias], examples: Examples, seed: int, batch_size: int
) -> KroneckerFactors:
    """The factors of the Fisher matrix per example, with labels drawn from the model's own predictions.

    A convolution reads many rows of one example. A is the mean over rows; G is summed over the rows of an example and
    averaged over examples. Correlations between rows are ignored (Grosse & Martens 2016).

    Args:
        model: in evaluation mode; the weights of the sites require gradients.
        sites: from ``factored_sites``; a site that does not affect the logits, as an auxiliary head, gets no factors.

    Raises:
        NonFiniteError: the model overflows.
    """
    sums, device = FactorSums(model, sites), device_of(model)
    draws = torch.Generator().manual_seed(seed)
    with sums.attached():
        for batch in examples.batches(batch_size):
            with sums.forward(RowLabels(torch.zeros(len(batch), dtype=torch.long), whole=0)) as seen:
                found = logits(model, batch.inputs.to(device)).float()
            for name, gradient in gradients_at(seen.given, found, drawn(found, draws)).items():
                sums.add(name, _rows(sites[name], gradient))
    return sums.factors(len(examples))


def _rows(site: WeightAndBias, gradient: Tensor) -> Float[Tensor, "rows out"]:
    """Gradients as rows; channels of convolutions come second, those of linear layers last."""
    if not isinstance(site, LinearSite | TransposedLinearSite):
        gradient = gradient.flatten(2).transpose(1, 2)
    return gradient.flatten(0, -2)
