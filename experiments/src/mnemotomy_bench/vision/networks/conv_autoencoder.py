"""The convolutional autoencoder of the paper: two 3×3 convolutions and a linear layer down to a code, and back."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError

WIDTHS, LATENT = (16, 32), 64
"""Appendix B.2 of arXiv 2606.14997."""


class ConvAutoencoder(nn.Module):
    """Images with pixels from 0 to 1 to a code and back (Appendix B.2 of arXiv 2606.14997).

    Each convolution halves the side, each transposed one doubles it: 28×28 goes through 7×7, 8×8 through 2×2.

    Args:
        side: of the images in pixels, a multiple of 4.
        latent: dimension of the code.
        channels: of the images.
        widths: channels of the encoder's convolutions, reversed for the decoder.

    Raises:
        ConfigurationError: a size is below 1, or the side is not a multiple of 4.
    """

    def __init__(
        self, side: int = 28, latent: int = LATENT, channels: int = 1, widths: tuple[int, int] = WIDTHS
    ) -> None:
        super().__init__()
        if min(latent, channels, *widths) < 1:
            raise ConfigurationError(f"latent, channels, widths must be at least 1, not {latent}, {channels}, {widths}")
        if side < 4 or side % 4:
            raise ConfigurationError(f"the side of the images must be a multiple of 4, not {side}")
        self.side, self.latent = side, latent
        first, second = widths
        coded = side // 4
        self.encoder = nn.Sequential(
            *(nn.Conv2d(channels, first, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(first, second, 3, 2, 1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(second * coded**2, latent)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(latent, second * coded**2), nn.ReLU(), nn.Unflatten(1, (second, coded, coded))),
            *(nn.ConvTranspose2d(second, first, 3, 2, 1, output_padding=1), nn.ReLU()),
            *(nn.ConvTranspose2d(first, channels, 3, 2, 1, output_padding=1), nn.Sigmoid()),
        )

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n latent"]:
        """The code of each image."""
        return self.encoder(images)

    def decode(self, codes: Float[Tensor, "n latent"]) -> Float[Tensor, "n c h w"]:
        """The image of each code, pixels from 0 to 1."""
        return self.decoder(codes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return self.decode(self.encode(images))
