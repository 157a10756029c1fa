"""Gradients of the canonical weights of sites."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.engram.sites.base import WeightAndBias

Matrices = dict[str, Float[Tensor, "out d"]]
"""By site, one matrix in the shape of its canonical weight."""


def train_only(model: nn.Module, sites: Mapping[str, WeightAndBias]) -> None:
    """Require gradients for the weights of the sites and for nothing else."""
    model.requires_grad_(False)
    for site in sites.values():
        for owner, leaf in site.parameters:
            getattr(owner, leaf).requires_grad_(True)


def train_as(model: nn.Module, other: nn.Module) -> None:
    """Require gradients for the same parameters as ``other``, a model of the same structure."""
    for parameter, original in zip(model.parameters(), other.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)


def taken(model: nn.Module, sites: Mapping[str, WeightAndBias]) -> Matrices:
    """The accumulated gradients, zeros where there are none; the model's are cleared."""
    found = {name: _canonical(site) for name, site in sites.items()}
    model.zero_grad(set_to_none=True)
    return found


def inner(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    """The inner product over all sites."""
    return sum(float((left[name] * right[name]).sum()) for name in right)


def _canonical(site: WeightAndBias) -> Float[Tensor, "out d"]:
    parts = [getattr(owner, leaf) for owner, leaf in site.parameters]
    found = [torch.zeros_like(part) if part.grad is None else part.grad for part in parts]
    weight = site.to_canonical(found[0]).float()
    return torch.cat([weight, found[1].float()[:, None]], dim=1) if site.has_bias else weight
