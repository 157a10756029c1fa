"""A Wasserstein autoencoder with a DCGAN's encoder and decoder, and its MMD penalty (Tolstikhin et al. 2018)."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError, DataError

WIDTH, LATENT = 128, 128
"""Channels of the encoder's first convolution (doubled by each further one), and the latent dimension."""

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""``s`` of the kernels in ``mmd_penalty``, as in the published code (tolstikhin/wae)."""

_CODED = 4  # side of the feature maps between convolutions and code


class WassersteinAutoencoder(nn.Module):
    """Images with pixels from 0 to 1 to a code and back, by 4×4 convolutions of stride 2 down to 4×4 pixels.

    Every map has a bias, before batch normalisation too: an edit of the affine map then reaches its mean.

    Args:
        width: channels of the first convolution; the paper's is 128.
        latent: dimension of the code, which the penalty pulls towards a standard normal distribution.
        side: of the images in pixels, a power of 2; 64 gives four convolutions on either side.
        channels: of the images.

    Raises:
        ConfigurationError: a size is below 1, or the side is not a power of 2 above 4.
    """

    def __init__(self, width: int = WIDTH, latent: int = LATENT, side: int = 64, channels: int = 3) -> None:
        super().__init__()
        if min(width, latent, channels) < 1:
            raise ConfigurationError(f"width, latent, channels must be at least 1, not {width}, {latent}, {channels}")
        if side <= _CODED or side & (side - 1):
            raise ConfigurationError(f"the side of the images must be a power of 2 above {_CODED}, not {side}")
        self.side, self.latent = side, latent
        depth = (side // _CODED).bit_length() - 1
        widths = [channels, *(width * 2**step for step in range(depth))]
        down: list[nn.Module] = []
        for left, right in itertools.pairwise(widths):
            down += [nn.Conv2d(left, right, 4, 2, 1), nn.BatchNorm2d(right), nn.LeakyReLU(0.2)]
        coded = widths[-1] * _CODED**2
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(coded, latent))
        up: list[nn.Module] = [
            *(nn.Linear(latent, coded), nn.Unflatten(1, (widths[-1], _CODED, _CODED))),
            *(nn.BatchNorm2d(widths[-1]), nn.ReLU()),
        ]
        for left, right in itertools.pairwise(widths[:0:-1]):
            up += [nn.ConvTranspose2d(left, right, 4, 2, 1), nn.BatchNorm2d(right), nn.ReLU()]
        self.decoder = nn.Sequential(*up, nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh())

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n latent"]:
        """The code of each image."""
        return self.encoder(2 * images - 1)

    def decode(self, codes: Float[Tensor, "n latent"]) -> Float[Tensor, "n c h w"]:
        """The image of each code, pixels from 0 to 1."""
        return (self.decoder(codes) + 1) / 2

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return self.decode(self.encode(images))


def wasserstein_loss(
    model: WassersteinAutoencoder,
    images: Float[Tensor, "n c h w"],
    prior: Float[Tensor, "n latent"],
    penalty: float,
) -> Float[Tensor, ""]:
    """Squared error of the images, scaled to [−1, 1] and summed over pixels, plus ``penalty`` · MMD (Eq. 4 of the WAE).

    Args:
        model: in training mode.
        images: pixels from 0 to 1.
        prior: drawn from the standard normal distribution.
        penalty: λ.
    """
    codes = model.encode(images)
    error = (2 * (model.decode(codes) - images)).square().flatten(1).sum(1).mean()
    return error + penalty * mmd_penalty(codes, prior)


def mmd_penalty(codes: Float[Tensor, "n d"], prior: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """The unbiased estimate of MMD² with ``k(x, y) = Σ_s C / (C + ‖x − y‖²)``, ``C = 2 d s``: Algorithm 2 of the WAE.

    The prior has variance 1. As in the published code, cross terms are averaged over all n² pairs and the others over
    the n (n − 1) pairs of different rows; the result can be below 0.

    Raises:
        DataError: the shapes differ, or there are fewer than two rows.
    """
    if codes.shape != prior.shape or len(codes) < 2:
        raise DataError(
            f"MMD needs two sets of equal shape with at least two rows, not {list(codes.shape)} and {list(prior.shape)}"
        )
    count, dimensions = codes.shape
    different = 1 - torch.eye(count, device=codes.device, dtype=codes.dtype)
    within = [_squared_distances(rows, rows) for rows in (codes, prior)]
    across = _squared_distances(codes, prior)
    total = codes.new_zeros(())
    for scale in SCALES:
        constant = 2.0 * dimensions * scale
        for distances in within:
            total = total + (constant / (constant + distances) * different).sum() / (count * (count - 1))
        total = total - 2 * (constant / (constant + across)).mean()
    return total


def _squared_distances(left: Float[Tensor, "n d"], right: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    squares = left.square().sum(1)[:, None] + right.square().sum(1) - 2 * left @ right.T
    return squares.clamp_min(0)
