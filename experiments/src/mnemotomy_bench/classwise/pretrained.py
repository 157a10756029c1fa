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
from mnemotomy.data.examples import Examples
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.filters import Filter, Hard, Soft
from mnemotomy.engram.recalibrate import recalibrated
from mnemotomy.methods.classifiers.engram import FORGET, RETAIN, inputs_of
from mnemotomy.methods.classifiers.engram_automatic import ClassifierEngramAutomatic
from mnemotomy.methods.classifiers.problem import Problem
from mnemotomy_bench.classwise.image_classifier import Classifier
from mnemotomy_bench.classwise.matrices import AUTOMATIC, CHOSEN, PAPER, RECALIBRATED, judged, smallest_strength
from mnemotomy_bench.classwise.recognition import Recogniser, Subject, read_groups
from mnemotomy_bench.classwise.records import GroupRecord
from mnemotomy_bench.lab.cells import Record, cached
from mnemotomy_bench.vision.images import Images

PROJECTOR, EXCESS = "projector", 0.3
CHOSEN_ON = 50
"""Training images of a group to choose its α on."""
RECALIBRATED_ON = 200
"""Retained images to read the statistics of batch normalisation from."""
OURS = functools.partial(ClassifierEngramAutomatic, excesses=(0.1, 0.5), strengths=(0.4, 0.6, 0.8, 1.0, 1.4), read=40)
"""``engram-automatic`` with a third of its grid: each pair of a filter and an α reads this many images of each set."""


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
        classes: for data with other classes than the model's: which of the model's each is (``read_groups``). Each is
            erased alone, and only images that the model recognises are read.
        most: with ``classes``, the most images of each, of ``train`` and of ``test``.
        rows: receptive fields of each image that the moments of a convolution read; None for all.
        automatic: whether to erase by ``engram-automatic``, too, and at α = 1 with batch normalisation recalibrated.

    Raises:
        ConfigurationError: a group, a number of images or the batch size is below 1.
    """

    data: str
    train: str = "train"
    test: str = "test"
    group: int = 20
    kinds: tuple[str, ...] | None = None
    batch_size: int = 128
    classes: str | None = None
    most: tuple[int, int] = (200, 50)
    rows: int | None = None
    automatic: bool = False

    def __post_init__(self) -> None:
        if min(self.group, self.batch_size) < 1:
            raise ConfigurationError(f"group and batch size must be 1 or more, not {self.group} and {self.batch_size}")
        if min(self.most) < 1:
            raise ConfigurationError(f"read at least 1 image of each group, not {min(self.most)}")


def run_pretrained(out_dir: Path, name: str, plan: Plan, *, device: str = "cpu") -> GroupRecord:
    """Each group of classes erased alone: the accuracy on each group afterwards.

    By the paper's estimator at α = 1 and at the α that ``smallest_strength`` chooses on the group's training images,
    and by the projector on directions whose μ is ``EXCESS`` of the way from n⁺/N to 1, with α chosen the same way.

    Args:
        out_dir: for rows and moments; finished results are reused.
        name: of the model, as `Classifier` takes it.
        plan: data, groups and layers.
        device: where the model runs.

    Raises:
        ModelError: there is no such model, or its image processor is missing or not supported (`Classifier`).
        DataError: the data is missing, a class has no training image, or a group no test image.
        SelectionError: a kind has no layer.
    """
    run = GroupRows(out_dir, Classifier(name, device, out_dir), plan)
    before = run.cell("before", lambda: {"found": run.by_group()})["found"]
    rows = []
    with progress_bar("groups", len(run.groups)) as advance:
        for group in run.groups:
            rows.append(run.cell(group, functools.partial(run.row, group)))
            if plan.automatic:
                more = run.cell(f"{group}, {AUTOMATIC}", functools.partial(run.automatic_row, group))
                rows[-1] = {key: rows[-1][key] | more[key] for key in more}
            advance(1, group)
    matrices = {title: [row["found"][title] for row in rows] for title in rows[0]["found"]}
    judgements = {title: judged(torch.tensor(before), torch.tensor(found)) for title, found in matrices.items()}
    return cast(GroupRecord, {
        "model": name,
        **asdict(plan),
        "images": {"train": len(run.train), "test": len(run.test)},
        "groups": list(run.groups),
        "recognition": run.subject.recognition,
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
        reading = {
            "model": fingerprint(classifier.model),
            "preparation": [classifier.side, classifier.crop, classifier.mean, classifier.std],
        }
        if plan.classes is None:
            train, test = (classifier.load(plan.data, split) for split in (plan.train, plan.test))
            self.subject = Subject(train, test, train.labels, grouped(train, plan.group))
        else:
            recogniser = Recogniser(classifier, read_groups(plan.classes), plan.batch_size)
            self.subject = recogniser.subject(
                plan.data,
                (plan.train, plan.test),
                plan.most,
                lambda name, run: cached(out_dir, reading | {"called": name, "classes": recogniser.groups}, run),
            )
        self.train, self.test, self.groups = self.subject.train, self.subject.test, self.subject.groups
        check_tested(self.test, self.groups)
        plan_ = {key: value for key, value in asdict(plan).items() if key != "automatic"}
        images = {"train": self.train.digest(), "test": self.test.digest()}
        self.identity = reading | {"plan": plan_, "images": images}

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
        own = own.where(torch.arange(min(CHOSEN_ON, len(own))))

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

    def automatic_row(self, group: str) -> Record:
        """The accuracies without one group by ``engram-automatic`` and at α = 1, with batch normalisation recalibrated.

        The strengths of ``engram-automatic`` are those of the layers and of the head.
        """
        model, size = self.classifier.model, self.plan.batch_size
        forget, retain = self.sets(group)
        problem = Problem(model, forget, retain, self.classifier.classes)
        others = [name for name in self.groups if name != group]
        atlas = Atlas(model, self.atlas.moments.group({FORGET: [group], RETAIN: others}))
        method = OURS(batch_size=size)
        choice, edit = method.choose_edit(problem, model, atlas)
        found, kept = {}, retain.drawn(RECALIBRATED_ON, problem.seed)
        for title, one in ((AUTOMATIC, edit), (RECALIBRATED, -1.0 * atlas.engram(FORGET).materialize())):
            with one.on(model, check=False), recalibrated(model, inputs_of(kept, size)):
                found[title] = self.by_group()
        alphas = {AUTOMATIC: [choice.strength, choice.head_strength], RECALIBRATED: 1.0}
        return {"alphas": alphas, "found": found}

    def sets(self, group: str) -> tuple[Examples, Examples]:
        """The training images of a group and all others, as the model reads them, by its own classes."""
        inside = torch.isin(self.train.labels, torch.tensor(self.groups[group]))
        forget, retain = (
            Examples(some.normalised(self.classifier.mean, self.classifier.std), self.subject.called[keep])
            for keep in (inside, ~inside)
            for some in [self.train.where(keep)]
        )
        return forget, retain

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
            options=CollectOptions(rows=self.plan.rows, checkpoint=self.out_dir / f"collecting-{self.key}.safetensors"),
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
