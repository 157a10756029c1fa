"""How fast what was forgotten comes back: fine-tuning on a few forgotten examples."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import cross_entropy
from mnemotomy.training.loop import Run, Update, train
from mnemotomy.training.optimiser import Optimiser


@dataclass(frozen=True)
class Relearning:
    """Full-batch SGD on the first ``examples`` of the forget set.

    In evaluation mode: batch normalisation would otherwise use statistics of a few images of one class. There are few
    steps, so a retrained model does not yet answer everything with the class: with more, all methods look alike.
    """

    examples: int = 10
    steps: int = 5
    learning_rate: float = 1e-3
    momentum: float = 0.9


def relearn(model: nn.Module, forget: Examples, settings: Relearning) -> nn.Module:
    """A copy of ``model`` fine-tuned on a few forgotten examples; unchanged if that broke it."""
    taught = copy.deepcopy(model).eval()
    batch = forget[: settings.examples]
    optimizer = torch.optim.SGD(taught.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
    run = Run("relearning", epochs=1, updates=settings.steps, evaluating=True, recovers=True, progress=False)
    train(taught, lambda *_: [Update([batch])] * settings.steps, cross_entropy, Optimiser(optimizer), run)
    return taught
