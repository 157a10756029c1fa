"""One forward pass of an autoencoder: codes, and the error of the reconstructions by digit."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mnemotomy.core.modules import device_of, observing
from mnemotomy.data.examples import Examples
from mnemotomy_bench.metrics.reconstruction import class_reconstruction_errors
from mnemotomy_bench.vision.networks.conv_autoencoder import ConvAutoencoder


@dataclass(frozen=True)
class Seen:
    """The result of one forward pass, on the CPU.

    Attributes:
        codes: of the encoder.
        by_class: mean squared error per pixel, averaged over each class's images; NaN for a class without any.
    """

    codes: Float[Tensor, "n latent"]
    by_class: Float[Tensor, " classes"]


def see(model: ConvAutoencoder, examples: Examples, classes: int, batch_size: int = 500) -> Seen:
    """Forward every image once, in evaluation mode."""
    codes, drawn = [], []
    device = device_of(model)
    with observing(model):
        for batch in examples.batches(batch_size):
            code = model.encode(batch.inputs.to(device))
            codes.append(code.float().cpu())
            drawn.append(model.decode(code).float().cpu())
    errors = class_reconstruction_errors(torch.cat(drawn), examples.inputs.cpu(), examples.labels.cpu(), classes)
    return Seen(torch.cat(codes), errors)


def mean_error(model: nn.Module, examples: Examples, batch_size: int = 500) -> float:
    """The mean squared error per pixel over all images."""
    total = 0.0
    with observing(model):
        for batch in examples.batches(batch_size):
            total += float((model(batch.inputs) - batch.inputs).double().square().flatten(1).mean(1).sum())
    return total / len(examples)


def drawn_pixels(model: nn.Module, images: Float[Tensor, "n c h w"]) -> str:
    """The reconstructions of a few images as bytes in base64, to keep in a record."""
    with observing(model):
        return packed(model(images))


def packed(images: Float[Tensor, "n c h w"]) -> str:
    """Pixels from 0 to 1 as bytes in base64."""
    pixels = (images * 255).round().clamp(0, 255).to(torch.uint8).cpu().contiguous()
    return base64.b64encode(pixels.numpy().tobytes()).decode("ascii")


def unpacked(text: str, side: int) -> UInt8[Tensor, "n h w"]:
    """The square one-channel images that ``packed`` encoded."""
    data = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
    return data.view(-1, side, side)
