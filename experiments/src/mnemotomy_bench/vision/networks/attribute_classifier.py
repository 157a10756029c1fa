"""A small convolutional network that reads attributes, and continuous factors if there are any, from an image."""

from __future__ import annotations

import itertools

from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError

_READ = 4  # side of the last feature maps


class AttributeClassifier(nn.Module):
    """4×4 convolutions of stride 2 down to 4×4 pixels, batch normalised, and one linear map to all outputs.

    Args:
        attributes: number of logits.
        numbers: number of further outputs, for regression.
        width: channels of the first convolution, doubled by each further one.
        side: of the images in pixels, a power of 2 above 4.
        channels: of the images.

    Raises:
        ConfigurationError: there is nothing to read, the width is below 1, or the side is not a power of 2 above 4.
    """

    def __init__(self, attributes: int, numbers: int = 0, width: int = 16, side: int = 64, channels: int = 3) -> None:
        super().__init__()
        if attributes < 1 or numbers < 0 or width < 1:
            raise ConfigurationError(
                f"a classifier reads at least one attribute with a width of at least 1, not {attributes} with {width}"
            )
        if side <= _READ or side & (side - 1):
            raise ConfigurationError(f"the side of the images must be a power of 2 above {_READ}, not {side}")
        self.attributes = attributes
        depth = (side // _READ).bit_length() - 1
        widths = [channels, *(width * 2**step for step in range(depth))]
        layers: list[nn.Module] = []
        for left, right in itertools.pairwise(widths):
            layers += [nn.Conv2d(left, right, 4, 2, 1), nn.BatchNorm2d(right), nn.ReLU()]
        outputs = nn.Linear(widths[-1] * _READ**2, attributes + numbers)
        self.layers = nn.Sequential(*layers, nn.Flatten(), outputs)

    def forward(self, images: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n attributes"], Float[Tensor, "n m"]]:
        """The logit of each attribute, and the further outputs, of images with pixels from 0 to 1."""
        outputs = self.layers(2 * images - 1)
        return outputs[:, : self.attributes], outputs[:, self.attributes :]
