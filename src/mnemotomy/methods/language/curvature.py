"""Kronecker factors of the retain set, from one forward and backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError, SelectionError
from mnemotomy.core.progress import progress_bar
from mnemotomy.curvature.fisher import FactorSums, drawn, gradients_at, watched
from mnemotomy.curvature.kronecker import KroneckerFactors
from mnemotomy.engram.products import full_precision
from mnemotomy.engram.rows import TEXT, RowLabels
from mnemotomy.engram.sites import Site
from mnemotomy.engram.sites.base import WeightAndBias
from mnemotomy.engram.sites.linear import LinearSite, TransposedLinearSite
from mnemotomy.methods.language.predictions import ROWS_AT_ONCE, predict
from mnemotomy.text.batches import padded
from mnemotomy.text.encoding import Encoded

Labels = Literal["sampled", "true"]
"""``sampled`` from the model's own predictions for the Fisher matrix; ``true`` for the empirical one."""


class Pass(NamedTuple):
    """One forward and backward pass of a few examples.

    Attributes:
        inputs: each site's input rows, ``[rows, d]``, not extended.
        gradients: of the summed loss at each site's outputs, ``[rows, out]``.
    """

    inputs: dict[str, Tensor]
    gradients: dict[str, Tensor]


@dataclass(frozen=True)
class Curvature:
    """How the factors are collected.

    The rows are all tokens of the examples, including the prompts', which affect the answers through attention. The
    loss is the summed cross-entropy of the answers' tokens.

    Attributes:
        labels: which answers.
        kind: ``ekfac`` takes a second pass.
        seed: of sampled labels.
        smoothing: the share of sampled labels drawn uniformly from the whole vocabulary instead. Without it, tokens
            that the model never expects have no curvature, and moving probability to them costs nothing.

    Raises:
        ConfigurationError: a value is out of range.
    """

    labels: Labels = "sampled"
    kind: Literal["kfac", "ekfac"] = "kfac"
    seed: int = 0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.labels not in get_args(Labels):
            raise ConfigurationError(f"labels are 'sampled' or 'true', not {self.labels!r}")
        if self.kind not in ("kfac", "ekfac"):
            raise ConfigurationError(f"factors are 'kfac' or 'ekfac', not {self.kind!r}")
        if not 0.0 <= self.smoothing <= 1.0:
            raise ConfigurationError(f"smoothing is a share in [0, 1], not {self.smoothing}")

    def collect(
        self, model: nn.Module, sites: Mapping[str, Site], examples: Sequence[Encoded], tokenizer: Any
    ) -> KroneckerFactors:
        """The factors of those ``sites`` that affect the predictions, over ``examples``.

        Args:
            model: in evaluation mode; the weights of the sites require gradients.
            sites: linear layers.
            examples: the retain set.
            tokenizer: the model's.

        Raises:
            SelectionError: a site is not a linear layer, or no site affects the predictions.
            NonFiniteError: the model overflows.
        """
        layers = linear(sites)
        sums = FactorSums(model, layers)
        with sums.attached():
            for seen in self._passes(model, layers, examples, tokenizer, sums):
                for name, gradient in seen.gradients.items():
                    sums.add(name, gradient)
        found = sums.factors()
        if not found.sites:
            raise SelectionError("the predictions depend on none of the sites; choose layers that text passes through")
        return found if self.kind == "kfac" else self._corrected(model, layers, examples, tokenizer, found)

    def _corrected(
        self,
        model: nn.Module,
        layers: Mapping[str, WeightAndBias],
        examples: Sequence[Encoded],
        tokenizer: Any,
        factors: KroneckerFactors,
    ) -> KroneckerFactors:
        """The factors with the mean squares of each row's gradient ``g xᵀ`` along the pairs of eigenvectors."""
        sites = factors.sites
        squares = {name: torch.zeros(len(f.outputs.moment), len(f.inputs.moment)) for name, f in sites.items()}
        chosen = {name: layers[name] for name in sites}
        for seen in self._passes(model, chosen, examples, tokenizer):
            for name, gradient in seen.gradients.items():
                x, factor = seen.inputs[name].float(), sites[name]
                if chosen[name].has_bias:
                    x = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
                squared = [(part @ vectors).square() for part, vectors in (
                    (gradient.float(), factor.outputs.spectrum.vectors), (x, factor.inputs.spectrum.vectors)
                )]  # fmt: skip
                squares[name] = squares[name].to(x) + squared[0].T @ squared[1]
        corrected = {name: replace(factor, corrected=squares[name] / factors.rows) for name, factor in sites.items()}
        return KroneckerFactors(corrected, factors.rows)

    def _passes(
        self,
        model: nn.Module,
        layers: Mapping[str, WeightAndBias],
        examples: Sequence[Encoded],
        tokenizer: Any,
        sums: FactorSums | None = None,
    ) -> Iterator[Pass]:
        """Forward and backward every example once, a few of similar length at a time; ``sums`` collects the inputs."""
        order = sorted(examples, key=lambda one: len(one.input_ids))
        draws = torch.Generator().manual_seed(self.seed)
        with full_precision(), progress_bar("curvature", len(order)) as advance:
            for start in range(0, len(order), ROWS_AT_ONCE):
                some = order[start : start + ROWS_AT_ONCE]  # in the order in which ``predict`` forwards them
                kept = padded(some, tokenizer)["attention_mask"].bool()
                labels = RowLabels(torch.zeros(len(some), dtype=torch.long), {TEXT: kept.long() - 1})
                with watched(model, layers) if sums is None else sums.forward(labels) as seen:
                    predicted = predict(model, some, tokenizer)
                targets = predicted.targets
                if self.labels == "sampled":
                    targets = drawn(predicted.logits, draws, self.smoothing)
                at = gradients_at(seen.given, predicted.logits, targets)
                yield Pass(
                    {name: seen.read[name][kept.to(g.device)] for name, g in at.items()},
                    {name: g[kept.to(g.device)] for name, g in at.items()},
                )
                advance(len(some))


def linear(sites: Mapping[str, Site]) -> dict[str, WeightAndBias]:
    """The sites, all of them linear layers.

    Raises:
        SelectionError: a site is not a linear layer.
    """
    found: dict[str, WeightAndBias] = {}
    for name, site in sites.items():
        if not isinstance(site, LinearSite | TransposedLinearSite):
            raise SelectionError(f"site {name!r} is not a linear layer, so it has no Kronecker factors; leave it out")
        found[name] = site
    return found
