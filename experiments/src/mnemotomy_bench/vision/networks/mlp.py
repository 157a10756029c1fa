"""The 3-layer perceptron of the MNIST experiments."""

from __future__ import annotations

from torch import nn

WIDTH = 256


def mlp(pixels: int, classes: int, width: float = 1.0) -> nn.Sequential:
    """Two hidden layers with ReLU; ``width`` is in units of 256."""
    hidden = max(1, round(WIDTH * width))
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU()),
        *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes)),
    )
