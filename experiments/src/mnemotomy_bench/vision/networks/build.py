"""Classifiers by name, for the shape of a data set's images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy_bench.vision.networks.mlp import mlp
from mnemotomy_bench.vision.networks.normalise import STATISTICS, Normalise
from mnemotomy_bench.vision.networks.resnet import resnet18, resnet50
from mnemotomy_bench.vision.networks.vit import vit

NETWORKS = ("mlp", "resnet18", "resnet50", "vit")


def build_classifier(
    name: str, data: str, shape: Sequence[int], classes: int, *, width: float = 1.0, seed: int = 0
) -> nn.Module:
    """An untrained network that takes images with pixels from 0 to 1.

    Args:
        name: one of ``NETWORKS``.
        data: its statistics, if known, normalise the pixels.
        shape: of one image: channels, height, width.
        classes: number of classes.
        width: of its layers, as a share of the published network's.
        seed: of the initialisation; the global random state is not changed.

    Raises:
        ConfigurationError: there is no such network, or the width is not above 0.
    """
    if name not in NETWORKS:
        raise ConfigurationError(f"there is no network {name!r}; choose one of {', '.join(NETWORKS)}")
    if not width > 0.0:
        raise ConfigurationError(f"the width must be above 0, not {width}")
    channels, height, side = shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "mlp":
            return mlp(channels * height * side, classes, width)
        if name == "vit":
            network = vit(channels, side, classes, width)
        else:
            network = {"resnet18": resnet18, "resnet50": resnet50}[name](channels, classes, width)
    if data not in STATISTICS:
        return network
    return nn.Sequential(Normalise(*STATISTICS[data]), network)
