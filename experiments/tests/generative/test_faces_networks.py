"""The Wasserstein autoencoder, its penalty, and the classifier that reads attributes."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers import randn

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy_bench.vision.networks.attribute_classifier import AttributeClassifier
from mnemotomy_bench.vision.networks.wasserstein_autoencoder import (
    SCALES,
    WassersteinAutoencoder,
    mmd_penalty,
    wasserstein_loss,
)


def test_mmd_is_the_brute_force():
    codes, prior = randn(7, 3), randn(7, 3, seed=1) + 0.5

    def kernel(x, y):
        return sum(6 * s / (6 * s + float((x - y).square().sum())) for s in SCALES)  # C = 2 · 3 · s

    pairs = list(itertools.permutations(range(7), 2))
    within = sum(kernel(rows[i], rows[j]) for rows in (codes, prior) for i, j in pairs) / 42
    across = sum(kernel(x, y) for x in codes for y in prior) / 49
    assert float(mmd_penalty(codes, prior)) == pytest.approx(within - 2 * across, rel=1e-5)


def test_mmd_tells_distributions_apart():
    same = [float(mmd_penalty(randn(200, 8, seed=s), randn(200, 8, seed=s + 50))) for s in range(20)]
    assert abs(sum(same) / 20) < 0.005  # unbiased, but for the diagonal among the cross terms
    assert float(mmd_penalty(1.3 * randn(200, 8), randn(200, 8, seed=1))) > 0.05
    with pytest.raises(DataError, match="at least two rows"):
        mmd_penalty(randn(1, 8), randn(1, 8))


@pytest.mark.parametrize(("side", "convolutions"), [(32, 3), (64, 4)])
def test_the_autoencoder_is_a_dcgan(side, convolutions):
    model = WassersteinAutoencoder(width=2, latent=5, side=side)
    images = torch.rand(3, 3, side, side)
    down = [layer for layer in model.encoder if isinstance(layer, torch.nn.Conv2d)]
    up = [layer for layer in model.decoder if isinstance(layer, torch.nn.ConvTranspose2d)]
    assert len(down) == len(up) == convolutions
    assert [layer.out_channels for layer in down] == [2 * 2**step for step in range(convolutions)]
    assert model.encode(images).shape == (3, 5)
    found = model(images)
    assert found.shape == images.shape
    assert bool(((found >= 0) & (found <= 1)).all())
    assert torch.equal(found, model.decode(model.encode(images)))


def test_the_loss_is_squared_error_and_penalty():
    model = WassersteinAutoencoder(width=2, latent=4, side=8).eval()
    images, prior = torch.rand(6, 3, 8, 8), randn(6, 4)
    error = 4 * (model(images) - images).square().sum() / 6  # pixels from −1 to 1
    expected = error + 10 * mmd_penalty(model.encode(images), prior)
    found = wasserstein_loss(model, images, prior, 10.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_classifier_reads_attributes_and_numbers():
    logits, numbers = AttributeClassifier(4, 8, width=2, side=16)(torch.rand(3, 3, 16, 16))
    assert logits.shape == (3, 4)
    assert numbers.shape == (3, 8)


def test_networks_of_impossible_size():
    with pytest.raises(ConfigurationError, match="power of 2 above 4, not 48"):
        WassersteinAutoencoder(side=48)
    with pytest.raises(ConfigurationError, match="at least 1, not 0"):
        WassersteinAutoencoder(width=0)
    with pytest.raises(ConfigurationError, match="power of 2 above 4, not 4"):
        AttributeClassifier(2, side=4)
    with pytest.raises(ConfigurationError, match="at least one attribute"):
        AttributeClassifier(0)
