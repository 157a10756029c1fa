"""Membership inference on a classifier: whether forgotten images still look like training data."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from mnemotomy.audit.attack import register
from mnemotomy.audit.base import Reading, Role
from mnemotomy.audit.images_case import ImageAttack, ImageCase, read_logits, spread
from mnemotomy.audit.statistics import Compared, compare_aucs
from mnemotomy.data.examples import Examples

_READ = 1000  # images of each set


@register(
    "image-loss",
    "Membership by loss",
    "Yeom et al. 2018, arXiv 1709.01604",
    part="membership",
    unit="AUC",
    says="{title}: an attacker tells forgotten images from those never trained on with an AUC of {after}",
)
class ImageLoss(ImageAttack):
    """The loss of forgotten images against that of hold-out images of the same classes."""

    def lacks(self, case: ImageCase) -> str | None:
        return None if case.holdout is not None else "a hold-out: images of the forgotten classes, not trained on"

    def read(self, model: nn.Module, case: ImageCase) -> Reading:
        """Minus the losses; higher looks learned."""
        assert case.holdout is not None
        values, floor = (_losses(model, spread(some, _READ), case) for some in (case.forget, case.holdout))
        return Reading(values, floor=floor)

    def compared(self, readings: Mapping[Role, Reading], seed: int) -> Compared:
        return compare_aucs(readings, seed)


def _losses(model: nn.Module, examples: Examples, case: ImageCase) -> tuple[float, ...]:
    found = read_logits(model, examples.inputs, case.batch_size).double()
    return tuple((-nn.functional.cross_entropy(found, examples.labels.cpu().long(), reduction="none")).tolist())
