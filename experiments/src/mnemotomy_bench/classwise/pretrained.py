"""A pretrained image classifier without each group of its classes (Fig. 12 of arXiv 2606.14997)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.keys import key
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.version import versions
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.filters import Filter, Hard, Soft
from mnemotomy_bench.classwise.image_classifier import Classifier
from mnemotomy_bench.classwise.matrices import CHOSEN, PAPER, judged, smallest_strength
from mnemotomy_bench.classwise.records import GroupRecord
from mnemotomy_bench.lab.cells import Record, cached
from mnemotomy_bench.vision.images import Images

PROJECTOR, EXCESS = "projector", 0.3


@dataclass(frozen=True)
class Plan:
    """What is erased, and from what data.

    Attributes:
        data: a folder of parquet files, a hub id, or ``digits``.
        train: the split, or the part of one, that engrams are extracted from and strengths chosen on. All of it is
            held in memory, a byte per pixel.
        test: the split that accuracies are read from.
        group: how many classes are erased together, neighbours by number.
        kinds: layers by name, such as ``query``; None for all linear layers.
        batch_size: images per forward pass; Appendix B.3's by default.

    Raises:
        ConfigurationError: a group or batch size is below 1.
    """

    data: str
    train: str = "train"
    test: str = "test"
    group: int = 20
    kinds: tuple[str, ...] | None = None
    batch_size: int = 128

    def __post_init__(self) -> None:
        if min(self.group, self.batch_size) < 1:
            raise ConfigurationError(f"group and batch size must be 1 or more, not {self.group} and {self.batch_size}")


def run_pretrained(out_dir: Path, name: str, plan: Plan, *, device: str = "cpu") -> GroupRecord:
    """Each group of classes erased alone: the accuracy on each group afterwards.

    By the paper's estimator at α = 1 and at the α that ``smallest_strength`` chooses on the group's training images,
    and by the projector on directions whose μ is ``EXCESS`` of the way from n⁺/N to 1, with α chosen the same way.

    Args:
        out_dir: for rows and moments; finished results are reused.
        name: of the model: a local folder or a hub id.
        plan: data, groups and layers.
        device: where the model runs.

    Raises:
        ModelError: there is no such model, or its image processor is missing or not supported (`Classifier`).
        DataError: the data is missing, a class has no training image, or a group no test image.
        SelectionError: a kind has no layer.
    """
    run = GroupRows(out_dir, Classifier(name, device), plan)
    before = run.cell("before", lambda: {"found": run.by_group()})["found"]
    rows = []
    with progress_bar("groups", len(run.groups)) as advance:
        for group in run.groups:
            rows.append(run.cell(group, functools.partial(run.row, group)))
            advance(1, group)
    matrices = {title: [row["found"][title] for row in rows] for title in (PAPER, CHOSEN, PROJECTOR)}
    judgements = {title: judged(torch.tensor(before), torch.tensor(found)) for title, found in matrices.items()}
    return cast(GroupRecord, {
        "model": name,
        **asdict(plan),
        "images": {"train": len(run.train), "test": len(run.test)},
        "groups": list(run.groups),
        "before": before,
        "strengths": {title: [row["alphas"][title] for row in rows] for title in matrices},
        "matrices": matrices,
        "summary": judgements,
        "versions": versions(),
    })  # fmt: skip


class GroupRows:
    """A row for each group, and what rows share; moments are collected when a row is first needed."""

    def __init__(self, out_dir: Path, classifier: Classifier, plan: Plan) -> None:
        self.out_dir, self.classifier, self.plan = out_dir, classifier, plan
        self.train, self.test = (classifier.load(plan.data, split) for split in (plan.train, plan.test))
        self.groups = grouped(self.train, plan.group)
        check_tested(self.test, self.groups)
        self.identity = {
            "model": fingerprint(classifier.model),
            "plan": asdict(plan),
            "images": {"train": self.train.digest(), "test": self.test.digest()},
            "preparation": [classifier.side, classifier.crop, classifier.mean, classifier.std],
        }

    @property
    def key(self) -> str:
        """A hash of what moments depend on, so a collection never resumes from another's checkpoint."""
        return key(self.identity)

    def cell(self, name: str, run: Callable[[], Record]) -> Record:
        """Read from its file, or computed by ``run``."""
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
        """The moments of every group, from one pass over the training images by group; finished ones are packed."""
        size = self.plan.batch_size
        self.out_dir.mkdir(parents=True, exist_ok=True)
        moments = collect(
            self.classifier.model,
            {
                group: self.classifier.batches(self.train.of_classes(members), size)
                for group, members in self.groups.items()
            },
            sites="all-linear" if self.plan.kinds is None else list(self.plan.kinds),
            options=CollectOptions(checkpoint=self.out_dir / f"collecting-{self.key}.safetensors"),
        )
        return Atlas(self.classifier.model, moments)


def grouped(images: Images, size: int) -> dict[str, tuple[int, ...]]:
    """Groups of ``size`` neighbouring classes by number, the rest in the last group.

    Raises:
        ConfigurationError: all classes are in one group.
        DataError: a class has no image.
    """
    classes = len(images.class_names)
    if size >= classes:
        raise ConfigurationError(f"a group of {size} leaves nothing of {classes} classes; use a smaller one")
    missing = sorted(set(range(classes)) - set(images.labels.tolist()))
    if missing:
        raise DataError(
            f"{len(missing)} classes have no training image, class {missing[0]} ({images.class_names[missing[0]]!r}) "
            "among them; read a larger part of the split"
        )
    starts = range(0, classes, size)
    members = [tuple(range(start, min(start + size, classes))) for start in starts]
    return {str(one[0]) if len(one) == 1 else f"{one[0]}–{one[-1]}": one for one in members}


def check_tested(images: Images, groups: dict[str, tuple[int, ...]]) -> None:
    """Refuse test images that lack a whole group of classes; single classes may be missing.

    Raises:
        DataError: a group has no test image.
    """
    there = set(images.labels.tolist())
    missing = [name for name, members in groups.items() if there.isdisjoint(members)]
    if missing:
        raise DataError(
            f"{len(missing)} groups of classes have no test image, {missing[0]} among them; read a larger part of the "
            "split"
        )
