"""A pretrained image classifier without each group of its classes in turn (Fig. 12 of arXiv 2606.14997)."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.bench.cells import cached
from mnemotomy.bench.classwise.matrices import CHOSEN, PAPER, judged, smallest_strength
from mnemotomy.data.images import Images, load_images
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import Collection, collect
from mnemotomy.engram.filters import Filter, Hard, Soft
from mnemotomy.engram.moments import versions
from mnemotomy.errors import ConfigurationError, DataError, ModelError
from mnemotomy.methods.classifier import logits
from mnemotomy.metrics.accuracy import class_accuracies
from mnemotomy.models import device_of, fingerprint, load_model, observing
from mnemotomy.progress import progress_bar

Record = dict[str, Any]

PROJECTOR, EXCESS = "projector", 0.3


@dataclass(frozen=True)
class Plan:
    """What is erased from what.

    Attributes:
        data: a folder of parquet files, a hub id, or ``digits``.
        train: the split, or the part of one, that engrams are extracted from and strengths chosen on. All of it is
            held in memory, a byte per pixel.
        test: the split that accuracies are read from.
        group: how many classes are erased together, neighbours by number.
        kinds: layers by name, as ``query``; None for every linear one.
        batch_size: images per forward pass; Appendix B.3's by default.

    Raises:
        ConfigurationError: a group or a batch is of less than one.
    """

    data: str
    train: str = "train"
    test: str = "test"
    group: int = 20
    kinds: tuple[str, ...] | None = None
    batch_size: int = 128

    def __post_init__(self) -> None:
        if min(self.group, self.batch_size) < 1:
            raise ConfigurationError(f"groups and batches are of 1 or more, not {self.group} and {self.batch_size}")


class Classifier:
    """An image classifier of transformers, and the images as its processor prepares them.

    Images are scaled to the side that the processor names by their shorter side, and their centre is cut out.

    Args:
        name: a local folder or a hub id.
        device: where the model runs.

    Raises:
        ModelError: there is no such model, or it has no image processor.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        from transformers import AutoImageProcessor

        self.model = load_model(name, device=device).eval()
        try:
            processor = AutoImageProcessor.from_pretrained(name)
        except (OSError, ValueError, ImportError) as error:
            raise ModelError(f"cannot load an image processor from {name!r}: {str(error).splitlines()[0]}") from error
        size = dict(processor.size)
        self.side = int(size.get("height") or size["shortest_edge"])
        self.mean, self.std = list(processor.image_mean), list(processor.image_std)

    def load(self, data: str, split: str) -> Images:
        """The images of a split, with as many channels as the model takes.

        Raises:
            DataError: the data is not there, or has other classes than the model.
        """
        images = load_images(data, split, size=self.side)
        known = int(getattr(self.model.config, "num_labels", 0))
        if len(images.class_names) != known:
            raise DataError(
                f"{data} has {len(images.class_names)} classes and the model {known}; give the data it knows"
            )
        inputs = images.inputs.expand(-1, len(self.mean), -1, -1) if images.inputs.shape[1] == 1 else images.inputs
        return Images(inputs, images.labels, images.class_names)

    def batches(self, images: Images, size: int) -> Iterator[tuple[Tensor, Int[Tensor, " n"]]]:
        """Every image once, as the model reads it, with its class."""
        for start in range(0, len(images), size):
            some = images.where(torch.arange(start, min(start + size, len(images))))
            yield some.normalised(self.mean, self.std).to(device_of(self.model)), some.labels

    def accuracies(self, images: Images, size: int) -> Float[Tensor, " classes"]:
        """The accuracy on each class; NaN where it has no image."""
        with observing(self.model):
            found = [logits(self.model, inputs).argmax(-1).cpu() for inputs, _ in self.batches(images, size)]
        return class_accuracies(torch.cat(found), images.labels, len(images.class_names))


def run_pretrained(out_dir: Path, name: str, plan: Plan, *, device: str = "cpu") -> Record:
    """Every group of classes erased in turn: the accuracy on each group afterwards.

    By the paper's estimator at α = 1 and at the α that ``smallest_strength`` chooses on the group's training images,
    and by the projector on the directions whose μ has ``EXCESS`` of the way from n⁺/N to 1, at the α chosen likewise.

    Args:
        out_dir: of the rows and the moments; what is there is not computed again.
        name: of the model: a local folder or a hub id.
        plan: data, groups and layers.
        device: where the model runs.

    Raises:
        ModelError: there is no such model, or it has no image processor.
        DataError: the data is not there, or a class of it has no image to learn from.
        SelectionError: there is no layer of a kind.
    """
    run = _Run(out_dir, Classifier(name, device), plan)
    before = run.cell("before", lambda: {"found": run.by_group()})["found"]
    rows = []
    with progress_bar("groups", len(run.groups)) as advance:
        for group in run.groups:
            rows.append(run.cell(group, functools.partial(run.row, group)))
            advance(1, group)
    matrices = {title: [row["found"][title] for row in rows] for title in (PAPER, CHOSEN, PROJECTOR)}
    judgements = {title: judged(torch.tensor(before), torch.tensor(found)) for title, found in matrices.items()}
    return {
        "model": name,
        **asdict(plan),
        "images": {"train": len(run.train), "test": len(run.test)},
        "groups": list(run.groups),
        "before": before,
        "strengths": {title: [row["alphas"][title] for row in rows] for title in matrices},
        "matrices": matrices,
        "summary": judgements,
        "versions": versions(),
    }


class _Run:
    """What the rows share; moments are collected when the first row is not there yet."""

    def __init__(self, out_dir: Path, classifier: Classifier, plan: Plan) -> None:
        self.out_dir, self.classifier, self.plan = out_dir, classifier, plan
        self.train, self.test = (classifier.load(plan.data, split) for split in (plan.train, plan.test))
        self.groups = grouped(self.train, plan.group)
        images = {"train": len(self.train), "test": len(self.test)}
        self.identity = {"model": fingerprint(classifier.model), "plan": asdict(plan), "images": images}

    @property
    def key(self) -> str:
        """A hash of what moments depend on, so that no collection goes on from another's checkpoint."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]

    def cell(self, name: str, run: Callable[[], Record]) -> Record:
        """From its file, or from ``run``."""
        return cached(self.out_dir, self.identity | {"row": name}, run)

    def by_group(self) -> list[float]:
        """The accuracy on the test images of each group: the mean over its classes."""
        found = self.classifier.accuracies(self.test, self.plan.batch_size)
        return [float(found[list(members)].nanmean()) for members in self.groups.values()]

    def row(self, group: str) -> Record:
        """The accuracies without one group by the paper's estimator, at α = 1 and at the α chosen, and by ours."""
        own = self.train.of_classes(self.groups[group])
        share = len(own) / len(self.train)
        projector = Hard(share + EXCESS * (1.0 - share))

        def left() -> float:
            return float(self.classifier.accuracies(own, self.plan.batch_size).nanmean())

        alphas: dict[str, float] = {}
        found: dict[str, list[float]] = {}
        filters: list[tuple[Filter, tuple[str, ...]]] = [(Soft(), (PAPER, CHOSEN)), (projector, (PROJECTOR,))]
        for filter, titles in filters:
            engram = self.atlas.engram(group, filter).materialize()
            chosen = smallest_strength(self.classifier.model, engram, left)
            for title in titles:
                alphas[title] = 1.0 if title == PAPER else chosen
                with (-alphas[title] * engram).on(self.classifier.model, check=False):
                    found[title] = self.by_group()
        return {"alphas": alphas, "found": found}

    @functools.cached_property
    def atlas(self) -> Atlas:
        """Of every group, from one pass over the training images, one group after the other: what is done is packed."""
        size = self.plan.batch_size
        self.out_dir.mkdir(parents=True, exist_ok=True)
        moments = collect(
            self.classifier.model,
            {
                group: self.classifier.batches(self.train.of_classes(members), size)
                for group, members in self.groups.items()
            },
            sites="all-linear" if self.plan.kinds is None else list(self.plan.kinds),
            options=Collection(checkpoint=self.out_dir / f"collecting-{self.key}.safetensors"),
        )
        return Atlas(self.classifier.model, moments)


def grouped(images: Images, size: int) -> dict[str, tuple[int, ...]]:
    """Neighbouring classes, ``size`` together and the rest in the last group, by their numbers.

    Raises:
        ConfigurationError: all classes are in one group.
        DataError: a class has no image.
    """
    classes = len(images.class_names)
    if size >= classes:
        raise ConfigurationError(f"a group of {size} leaves nothing of {classes} classes; take a smaller one")
    missing = sorted(set(range(classes)) - set(images.labels.tolist()))
    if missing:
        raise DataError(
            f"{len(missing)} classes have no training image, class {missing[0]} ({images.class_names[missing[0]]!r}) "
            "among them; read a larger part of the split"
        )
    starts = range(0, classes, size)
    members = [tuple(range(start, min(start + size, classes))) for start in starts]
    return {str(one[0]) if len(one) == 1 else f"{one[0]}–{one[-1]}": one for one in members}
