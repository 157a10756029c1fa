"""Whether an edited image still shows the same person: factors read from it, and its distance to the exact truth."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from mnemotomy.core.errors import DataError


def factor_change(
    before: Float[Tensor, "n m"], after: Float[Tensor, "n m"], circular: Bool[Tensor, " m"] | None = None
) -> Float[Tensor, " m"]:
    """The mean absolute change of each factor, in units of its range.

    Args:
        before: factors scaled to [0, 1].
        after: likewise, of the edited images.
        circular: factors whose 0 and 1 are the same, such as a hue; none by default.

    Raises:
        DataError: the shapes differ, or there are no images.
    """
    return _distances(before, after, circular).mean(0).float()


def determination(
    read: Float[Tensor, "n m"], true: Float[Tensor, "n m"], circular: Bool[Tensor, " m"] | None = None
) -> Float[Tensor, " m"]:
    """R² of each factor's reading: 1 − mean squared error / variance.

    Below 0 if the mean would be a better reading. A circular factor, taken as uniform, has variance 1/12.

    Raises:
        DataError: as ``factor_change``, or a factor does not vary.
    """
    errors = _distances(read, true, circular).square().mean(0)
    variances = true.double().var(0, correction=0)
    if circular is not None:
        variances = variances.masked_fill(circular, 1 / 12)
    if not bool((variances > 0).all()):
        raise DataError("a factor is the same in every image; leave it out")
    return (1 - errors / variances).float()


def pixel_errors(
    edited: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"], inside: Bool[Tensor, "n h w"]
) -> tuple[float, float]:
    """The mean squared error to the exact ground truth, within the attribute's own pixels and everywhere else.

    Args:
        edited: pixels from 0 to 1.
        truth: what a perfect edit would show.
        inside: the pixels that the attribute covers.

    Raises:
        DataError: the shapes do not fit, or the pixels are all inside or all outside.
    """
    if edited.shape != truth.shape or inside.shape != (len(edited), *edited.shape[2:]):
        raise DataError(
            f"images of shape {list(edited.shape)} came with {list(truth.shape)} and pixels of {list(inside.shape)}"
        )
    if bool(inside.all()) or not bool(inside.any()):
        raise DataError("the attribute covers every pixel or none; there is no inside and outside")
    errors = (edited - truth).double().square().mean(1)
    return float(errors[inside].mean()), float(errors[~inside].mean())


def _distances(left: Tensor, right: Tensor, circular: Tensor | None) -> Float[Tensor, "n m"]:
    if left.shape != right.shape or left.dim() != 2 or not len(left):
        raise DataError(f"factors of shape {list(left.shape)} cannot be compared with {list(right.shape)}")
    distances = (left - right).double().abs()
    if circular is None:
        return distances
    around = distances % 1
    return around.minimum(1 - around).where(circular, distances)
