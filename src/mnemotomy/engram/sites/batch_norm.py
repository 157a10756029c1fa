"""The scale and shift of a batch normalisation: edits may carry them, nothing is collected from them."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mnemotomy.engram.sites.base import Reading, Site


class BatchNormSite(Site):
    """Weight and bias as two columns. No selector names it, since its input has no rows of its own."""

    def reading(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading | None:
        return None

    def to_canonical(self, weight: Tensor) -> Float[Tensor, "channels 1"]:
        return weight[:, None]

    def from_canonical(self, delta: Float[Tensor, "channels 1"]) -> Float[Tensor, " channels"]:
        return delta[:, 0]


def batch_norms(model: nn.Module) -> dict[str, Site]:
    """The batch normalisations with a scale and a shift, by name."""
    return {
        name: BatchNormSite(name, module)
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.affine and module.track_running_stats
    }
