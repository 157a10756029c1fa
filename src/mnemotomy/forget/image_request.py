"""A request to forget images: what goes into the moments, and what is kept apart of both sets to measure on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from mnemotomy.core.errors import ConceptError, DataError
from mnemotomy.core.image_models import check_image_classifier, class_names
from mnemotomy.data.examples import Examples
from mnemotomy.data.image_sets import Source, apart_from, check_labels, image_sets
from mnemotomy.forget.scores import IMAGES, Words
from mnemotomy.methods.classifiers.classifier import class_count

KEPT_APART = 0.2
"""The share of both sets that is measured on and stays out of the moments."""


@dataclass(frozen=True)
class ImageRequest:
    """One request to a classifier.

    Attributes:
        model: from images to logits; it stays as it is.
        forget, retain: for the moments.
        unseen: kept apart from the forget set.
        checks: kept apart from the retain set.
        names: of the classes.
        seed: for everything drawn at random.
        notes: for the record.
    """

    model: nn.Module
    forget: Examples
    retain: Examples
    unseen: Examples
    checks: Examples
    names: Sequence[str]
    seed: int = 0
    notes: tuple[str, ...] = ()
    words: ClassVar[Words] = IMAGES

    def audited(self) -> tuple[Examples, Examples]:
        """What an audit shows: the forget set, and the retained images kept apart."""
        return self.forget, self.checks


def image_request(model: nn.Module, processor: Any, forget: Source, retain: Source | None, seed: int) -> ImageRequest:
    """The request from images in tensors or files.

    Args:
        processor: the image processor; None where images are tensors.
        forget, retain: labelled by the model's own classes.
        seed: for what is read and kept apart.

    Raises:
        DataError: there is no retain set, or a label is not one of the model's classes.
        ConceptError: a set has fewer than two images.
    """
    check_image_classifier(model)
    if retain is None:
        raise DataError("a classifier needs images to retain: of its other classes, best of those most alike")
    channels = int(getattr(getattr(model, "config", None), "num_channels", 3))
    sets = image_sets({"forget": forget, "retain": retain}, class_names(model), processor, channels, seed)
    count = class_count(model, sets["forget"])
    for name, examples in sets.items():
        if len(examples) < 2:
            raise ConceptError(f"the {name} set needs at least two images, one of them to measure on; give more")
        check_labels(examples, count, name)
    apart_from(sets["retain"], sets["forget"])  # refuses a retain set without other classes
    (forgotten, unseen), (kept, checks) = (_split(examples, seed) for examples in sets.values())
    names = class_names(model) or tuple(map(str, range(count)))
    return ImageRequest(
        model, forgotten, kept, unseen, checks, names, seed, _notes(sets["forget"], sets["retain"], names)
    )


def _split(examples: Examples, seed: int) -> tuple[Examples, Examples]:
    apart = max(1, round(KEPT_APART * len(examples)))
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).to(examples.labels.device)
    return examples[order[apart:].sort().values], examples[order[:apart].sort().values]


def _notes(forget: Examples, retain: Examples, names: Sequence[str]) -> tuple[str, ...]:
    both = sorted(set(forget.labels.tolist()) & set(retain.labels.tolist()))
    if not both:
        return ()
    named = ", ".join(names[label] for label in both[:5])
    return (
        f"the retain set has images of the classes to forget, too ({named}): what they have in common with the forget "
        "set stays",
    )
