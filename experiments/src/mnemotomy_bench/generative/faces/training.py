"""The autoencoder of faces and the classifier that reads its images: the same case and seed are trained once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.fingerprints import digest
from mnemotomy.core.keys import key
from mnemotomy.training.loop import Update
from mnemotomy.training.optimiser import Optimiser
from mnemotomy_bench.generative.faces.cases import FaceCase
from mnemotomy_bench.generative.faces.portraits import Portraits, hue_as_point
from mnemotomy_bench.lab.resources import Usage
from mnemotomy_bench.vision.fitting import fit
from mnemotomy_bench.vision.networks.attribute_classifier import AttributeClassifier
from mnemotomy_bench.vision.networks.wasserstein_autoencoder import WassersteinAutoencoder, wasserstein_loss

CLASSIFIER_SEED = 1000
"""Far from the autoencoders' seeds."""

Shown = tuple[Tensor, Tensor]
"""Faces, and draws of the prior."""

_BLUR = 1.6  # pixels: the widest blur that the classifier learns, at a side of 64
_NOISE = 0.03
_FACTORS = 10.0  # weight of the factors' squared error beside the attributes' cross-entropy


def train_autoencoder(
    case: FaceCase, seed: int, faces: Portraits, folder: Path
) -> tuple[WassersteinAutoencoder, Usage]:
    """A Wasserstein autoencoder of ``faces``, and the cost of its training, when it was done.

    Args:
        case: its settings are used.
        seed: of the initialisation, the order and the prior's draws.
        faces: every epoch sees all of them.
        folder: where trained models are kept; they are reused.
    """
    device = faces.pixels.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WassersteinAutoencoder(case.width, case.latent, case.side)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=case.learning_rate, betas=(0.5, 0.999))
    schedule = _one_cycle(optimizer, case, len(faces), case.epochs)

    def draw(_: int, generator: torch.Generator) -> Iterator[Update[Shown]]:
        for batch in faces.batches(case.batch_size, generator):
            if len(batch) > 1:  # neither MMD nor batch normalisation is defined for one face
                yield Update([(batch.images, torch.randn(len(batch), case.latent, generator=generator).to(device))])

    def loss(_: nn.Module, shown: Shown) -> Tensor:
        return wasserstein_loss(model, *shown, case.penalty)

    settings = (case.width, case.latent, case.side, case.epochs, case.batch_size, case.learning_rate, case.penalty)
    path = folder / f"autoencoder-{_key(settings, seed, faces)}.safetensors"
    how, name = Optimiser(optimizer, schedule), f"{case.name}, seed {seed}"
    usage = fit(model, path, draw, loss, how, epochs=case.epochs, seed=seed, name=name)
    return model, usage


def train_classifier(case: FaceCase, faces: Portraits, folder: Path) -> AttributeClassifier:
    """The classifier of attributes, and of factors if there are any; it never sees an autoencoder.

    It is trained on separate faces, blurred by up to 1.6 pixels and noisy, so that it can read an autoencoder's images.

    Arguments as for ``train_autoencoder``.
    """
    device = faces.pixels.device
    targets = None if faces.factors is None else hue_as_point(faces.factors)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(CLASSIFIER_SEED)
        numbers = 0 if targets is None else targets.shape[1]
        model = AttributeClassifier(len(case.attributes), numbers, case.classifier_width, case.side)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = _one_cycle(optimizer, case, len(faces), case.classifier_epochs)

    def draw(_: int, generator: torch.Generator) -> Iterator[Update[tuple[Tensor, Portraits]]]:
        for batch in faces.batches(case.batch_size, generator):
            if len(batch) > 1:
                yield Update([(_worsened(batch.images, generator), batch)])

    def loss(model: nn.Module, shown: tuple[Tensor, Portraits]) -> Tensor:
        images, batch = shown
        logits, numbers = model(images)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch.attributes.float())
        if batch.factors is not None:
            loss = loss + _FACTORS * nn.functional.mse_loss(numbers, hue_as_point(batch.factors))
        return loss

    settings = (case.classifier_width, case.side, case.classifier_epochs, case.batch_size, _BLUR, _NOISE, _FACTORS)
    path = folder / f"classifier-{_key(settings, CLASSIFIER_SEED, faces)}.safetensors"
    how, name = Optimiser(optimizer, schedule), f"{case.name}, classifier"
    fit(model, path, draw, loss, how, epochs=case.classifier_epochs, seed=CLASSIFIER_SEED, name=name)
    return model


def _worsened(images: Float[Tensor, "n c s s"], generator: torch.Generator) -> Float[Tensor, "n c s s"]:
    """Blurred by one Gaussian for the batch, with noise of one strength."""
    width, noise = torch.rand(2, generator=generator).tolist()
    images = blurred(images, width * _BLUR * images.shape[-1] / 64)
    drawn = torch.randn(images.shape, generator=generator).to(images.device)
    return images + noise * _NOISE * drawn


def blurred(images: Float[Tensor, "n c s s"], sigma: float) -> Float[Tensor, "n c s s"]:
    """Blurred by a Gaussian of ``sigma`` pixels, borders repeated."""
    if sigma < 0.1:
        return images
    steps = torch.arange(-4, 5, device=images.device).float()
    line = (-0.5 * (steps / sigma) ** 2).exp()
    line = line / line.sum()
    channels = images.shape[1]
    kernel = (line[:, None] * line).expand(channels, 1, 9, 9)
    return nn.functional.conv2d(nn.functional.pad(images, (4, 4, 4, 4), mode="replicate"), kernel, groups=channels)


def _one_cycle(optimizer: torch.optim.Optimizer, case: FaceCase, faces: int, epochs: int) -> Any:
    steps = epochs * -(-faces // case.batch_size)
    highest = optimizer.param_groups[0]["lr"]
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, highest, total_steps=steps, pct_start=0.1)


def _key(settings: tuple[Any, ...], seed: int, faces: Portraits) -> str:
    parts = [faces.pixels, faces.attributes] + ([] if faces.factors is None else [faces.factors])
    return key(settings, seed, [digest(one) for one in parts])
