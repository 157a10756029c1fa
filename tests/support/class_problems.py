"""Requests to forget a class: of a small network of digits, and of a convolution under batch normalisation."""

from __future__ import annotations

import functools

import torch
from helpers import randn
from torch import Tensor, nn

from mnemotomy.data.digits import load_digits
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import cross_entropy
from mnemotomy.methods.classifiers.problem import Problem

FORGOTTEN = 0


def fresh() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def fit(model: nn.Module, examples: Examples) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(15):
        for batch in examples.batches(64, generator):
            optimizer.zero_grad()
            cross_entropy(model, batch).backward()
            optimizer.step()
    optimizer.zero_grad()
    return model.eval()


@functools.cache
def digits() -> Problem:
    train, _ = load_digits()
    examples = Examples(train.images, train.labels)
    chosen = train.labels == FORGOTTEN
    model = fit(fresh(), examples)
    return Problem(model, examples[chosen], examples[~chosen], 10, fresh, fit)


class Convolutional(nn.Module):
    """A convolution under batch normalisation, as in a residual network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(images)).relu().mean((2, 3)))


def images() -> Problem:
    labels = torch.arange(33) % 3
    inputs = randn(33, 1, 6, 6) + labels[:, None, None, None]
    examples = Examples(inputs, labels)
    return Problem(
        Convolutional().eval(), examples[labels == 1], examples[labels != 1], 3, Convolutional, lambda model, _: model
    )
