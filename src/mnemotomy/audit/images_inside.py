"""What still stands inside a classifier: by the last layer as it was before, and by fresh probes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.audit.attack import best, left, register
from mnemotomy.audit.base import Finding, Part, Reading, Role
from mnemotomy.audit.images_case import ImageAttack, ImageCase, right, spread
from mnemotomy.core.errors import ModelError
from mnemotomy.core.modules import blocks_by_name, device_of, observing
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import head_of, logits, read_head
from mnemotomy.metrics.fresh_probe import Kind, held_out_hits

_FITTED = 400  # retained images that a probe is fitted on
_READ = 150  # forgotten images that it reads
_FOLDS = 5


class OnlyWithGold(ImageAttack):
    """An attack that trains on forgotten images, and so teaches them: it decides only against a gold model."""

    def find(self, readings: Mapping[Role, Reading], case: ImageCase) -> Finding:
        finding = super().find(readings, case)
        if "gold" in readings and finding.trace is not None:
            return finding
        text = finding.sentence.removesuffix(left(None)).split(" Left of")[0].strip()
        why = (
            "A network that never saw them does about as well."
            if "gold" in readings
            else "Any network may be taught as much: only against a gold model does this say something."
        )
        return replace(finding, trace=None, sentence=f"{text} {why}")


@register(
    "image-head",
    "Read by the last layer as it was",
    "Kodge et al. 2024, arXiv 2312.00761",
    says="The last layer of the model before recognises {after} of the forgotten images from the features",
)
class ImageHead(ImageAttack):
    """The features under the last layer of the model before forgetting: it recognises what only the answer hides."""

    part: ClassVar[Part] = "inside"

    def lacks(self, case: ImageCase) -> str | None:
        return None if case.alike else "last layers that read features of one width in all models"

    def read(self, model: nn.Module, case: ImageCase) -> Reading:
        assert case.reference is not None
        old, head = head_of(case.reference, case.forget), head_of(model, case.forget)
        values, floor = (
            right(read_by(old, read_head(model, head, some, case.batch_size).inputs), some.labels)
            for some in (case.asked, case.others)
        )
        return Reading(values, floor=floor)


def read_by(head: nn.Linear, features: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
    """The logits of a head for given features, on the CPU."""
    with torch.no_grad():
        return head(features.to(head.weight)).float().cpu()


class ImageProbe(OnlyWithGold):
    """A fresh probe that reads the class from features of each block, five-fold over images.

    The floor is read by probes that were fitted to permuted classes.
    """

    part: ClassVar[Part] = "inside"
    unit: ClassVar[str] = "share of classes read"
    kind: ClassVar[Kind]
    says: ClassVar[str] = "A probe reads the class of {after} of the forgotten images from its best block"

    def read(self, model: nn.Module, case: ImageCase) -> Reading:
        forgotten, others = spread(case.forget, _READ), spread(case.retain, _FITTED)
        labels = torch.cat([forgotten.labels, others.labels]).tolist()
        groups = [number % _FOLDS for number in range(len(labels))]
        features = block_features(model, Examples(torch.cat([forgotten.inputs, others.inputs]), torch.tensor(labels)),
                                  case.batch_size)  # fmt: skip
        rows, floors = (
            {name: tuple(held_out_hits(one, labels, groups, kind=self.kind, seed=case.seed, shuffled=shuffled)
                         [: len(forgotten)].astype(float).tolist()) for name, one in features.items()}
            for shuffled in (False, True)
        )  # fmt: skip
        return best(rows, floors, apart=True)


@register("image-linear-probe", "Fresh linear probe", "Alain and Bengio 2017, arXiv 1610.01644", kind="linear")
class ImageLinearProbe(ImageProbe):
    """A logistic regression."""


@register("image-two-layer-probe", "Fresh two-layer probe", "Hewitt and Liang 2019, arXiv 1909.03368", kind="two-layer")
class ImageTwoLayerProbe(ImageProbe):
    """A network with one hidden layer."""


def block_features(model: nn.Module, examples: Examples, batch_size: int) -> dict[str, Float[Tensor, "n d"]]:
    """What each block gives, the mean over pixels or tokens, and what the last layer reads."""
    try:
        blocks = list(blocks_by_name(model).values())
    except ModelError:  # a network without a list of blocks
        blocks = []
    parts: dict[str, list[Tensor]] = {}

    def keep(name: str, found: Any) -> None:
        found = found[0] if isinstance(found, tuple) else found
        if isinstance(found, Tensor) and found.dim() in (2, 3, 4):
            found = found.mean((2, 3)) if found.dim() == 4 else found.mean(1) if found.dim() == 3 else found
            parts.setdefault(name, []).append(found.float().cpu())

    head = head_of(model, examples)
    with ExitStack() as hooks, observing(model):
        for number, block in enumerate(blocks, start=1):
            hooks.enter_context(
                block.register_forward_hook(lambda _m, _i, out, number=number: keep(f"block {number}", out))
            )
        hooks.enter_context(head.register_forward_pre_hook(lambda _, given: keep("last layer", given[0].flatten(1))))
        for batch in examples.batches(batch_size):
            logits(model, batch.inputs.to(device_of(model)))
    return {name: torch.cat(some) for name, some in parts.items() if sum(map(len, some)) == len(examples)}
