"""Kronecker factors against those of curvlinops, where it has any."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import randn, relative
from tiny_problem import llama, tiny_problem
from torch import Tensor, nn

from mnemotomy.curvature.fisher import drawn
from mnemotomy.curvature.kronecker import KroneckerFactors
from mnemotomy.curvature.weight_gradients import train_only
from mnemotomy.data.examples import Examples
from mnemotomy.engram.sites import select_sites
from mnemotomy.methods.classifiers.curvature import factored_sites, kronecker_factors
from mnemotomy.methods.language.curvature import Curvature, linear
from mnemotomy.text.encoding import Encoded

curvlinops = pytest.importorskip("curvlinops")


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 7), nn.ReLU(), nn.Linear(7, 3, bias=False))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, stride=2), nn.Flatten(), nn.Linear(12, 3)
    )


def agree(factors: KroneckerFactors, vectors: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    """Whether ``rows · G V A`` is what is expected, at each site."""
    assert factors.sites.keys() == expected.keys()
    found = {
        name: factors.rows * f.outputs.moment @ vectors[name] @ f.inputs.moment for name, f in factors.sites.items()
    }
    return all(relative(found[name], expected[name]) < 1e-5 for name in found)


def of_curvlinops(model: nn.Module, loss: nn.Module, data: Any, sites: Any, vectors: dict[str, Tensor]) -> Any:
    """The same of its K-FAC with these very labels."""
    parameters = [getattr(*place) for site in sites.values() for place in site.parameters]
    fisher = curvlinops.KFACLinearOperator(
        model, loss, parameters, data, fisher_type="empirical", separate_weight_and_bias=False
    )
    flat = []
    for name, site in sites.items():
        width = vectors[name].shape[1] - site.has_bias
        stored = [getattr(*place) for place in site.parameters]
        flat += [part.reshape(kept.shape) for part, kept in zip(
            (vectors[name][:, :width], vectors[name][:, width:])[: len(stored)], stored, strict=True
        )]  # fmt: skip
    found = iter(fisher @ flat)
    return {
        name: torch.cat([next(found).detach().reshape(len(vectors[name]), -1) for _ in site.parameters], dim=1)
        for name, site in sites.items()
    }


@pytest.mark.parametrize("make", [dense, convolutional])
def test_a_classifiers_factors(make: Any):
    torch.manual_seed(0)
    model, examples = make().eval(), Examples(randn(20, 1, 6, 6), torch.arange(20) % 3)
    sites = factored_sites(model)
    train_only(model, sites)
    factors = kronecker_factors(model, sites, examples, seed=3, batch_size=8)
    draws = torch.Generator().manual_seed(3)
    labels = torch.cat([drawn(model(batch.inputs), draws) for batch in examples.batches(8)])
    vectors = {name: randn(*site.weight().shape, seed=5) for name, site in sites.items()}
    expected = of_curvlinops(model, nn.CrossEntropyLoss(reduction="sum"), [(examples.inputs, labels)], sites, vectors)
    assert agree(factors, vectors, expected)


class Predicting(nn.Module):
    """A language model as a function from tokens to the logits of the next ones."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(tokens, use_cache=False).logits[:, :-1].flatten(0, 1)


def test_a_language_models_factors():
    model, tokenizer = llama(0), tiny_problem().tokenizer
    sites = linear(select_sites(model, ["q_proj", "down_proj"]))
    train_only(model, sites)
    tokens = torch.randint(3, len(tokenizer), (6, 9), generator=torch.Generator().manual_seed(1))
    rows = [Encoded(row, [-100, *row[1:]]) for row in tokens.tolist()]
    factors = Curvature(labels="true").collect(model, sites, rows, tokenizer)
    vectors = {name: randn(*site.weight().shape, seed=5) for name, site in sites.items()}
    loss, data = nn.CrossEntropyLoss(reduction="sum"), [(tokens, tokens[:, 1:].flatten())]
    expected = of_curvlinops(Predicting(model), loss, data, sites, vectors)
    assert agree(factors, vectors, expected)
