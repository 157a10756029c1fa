"""What a classifier calls images of another data set, whose classes are groups of its own."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.core.yaml import read_yaml
from mnemotomy_bench.classwise.image_classifier import Classifier
from mnemotomy_bench.lab.cases import document, validated
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.vision.images import Images, load_images

Groups = Mapping[str, tuple[int, ...]]
"""The model's classes by the name of the data's class; none for a class that the model does not know."""

Cell = Callable[[str, Callable[[], Record]], Record]

AT_A_TIME = 500
"""Images of one cell: a stopped run loses no more."""
FEWEST = 40
"""Recognised images of a group that is erased."""


def read_groups(name: str) -> dict[str, tuple[int, ...]]:
    """The groups of this name in ``cases/imagenet_groups.yaml``, or of a YAML file in the form of one of its entries.

    Raises:
        ConfigurationError: there is no such name or file, it is not valid, or a class is in two groups.
    """
    known = document("imagenet_groups")
    if name not in known and not Path(name).is_file():
        raise ConfigurationError(f"there are no groups {name!r}; choose among {', '.join(known)}, or name a YAML file")
    content = known[name] if name in known else read_yaml(Path(name).read_text(encoding="utf-8"))
    entries = validated(dict[str, list[int | str]], content, name)
    groups = {group: tuple(number for item in items for number in _numbers(item)) for group, items in entries.items()}
    every = sorted(number for members in groups.values() for number in members)
    twice = [one for one, following in itertools.pairwise(every) if one == following]
    if twice or not every:
        raise ConfigurationError(f"{name}: " + (f"class {twice[0]} is named twice" if twice else "no class is named"))
    return groups


def _numbers(item: int | str) -> range:
    """One number, or those from ``a`` to ``b`` of ``a-b``."""
    first, _, last = str(item).partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise ConfigurationError(f"{item!r} is not the number of a class, nor a range such as 7-24")
    return range(int(first), int(last or first) + 1)


@dataclass(frozen=True)
class Called:
    """What a classifier calls each image of a split; groups are numbered, and −1 is none.

    Attributes:
        images: as they are stored, by the data's classes.
        places: the group that each image belongs to.
        top: the model's class.
        group: the group of ``top``.
        forced: by forced choice: the group with the highest mean probability over its classes.
    """

    images: Images
    places: Int[Tensor, " n"]
    top: Int[Tensor, " n"]
    group: Int[Tensor, " n"]
    forced: Int[Tensor, " n"]

    @property
    def right(self) -> Bool[Tensor, " n"]:
        """Which images are recognised: called something in their own group."""
        return (self.group == self.places) & (self.places >= 0)

    def summary(self, groups: Groups) -> list[Record]:
        """By class of the data: images, and the shares recognised among all classes and by forced choice."""
        found = []
        shares = {"top": self.right, "forced": self.forced == self.places}
        for index, name in enumerate(self.images.class_names):
            own, members = self.images.labels == index, groups.get(name, ())
            found.append({
                "group": name,
                "classes": len(members),
                "images": int(own.sum()),
                **{key: float(hits[own].double().mean()) if members else None for key, hits in shares.items()},
            })  # fmt: skip
        return found


@dataclass(frozen=True)
class Subject:
    """Images that groups of classes are erased and measured on.

    Attributes:
        train, test: as the model takes them.
        called: the model's own class of each training image.
        groups: labels by the name of the group.
        recognition: what the model recognises of each split, for data with other classes.
    """

    train: Images
    test: Images
    called: Int[Tensor, " n"]
    groups: dict[str, tuple[int, ...]]
    recognition: dict[str, list[Record]] = field(default_factory=dict)


class Recogniser:
    """Reads images of another data set with a classifier, whose accuracies are by these groups from then on.

    Args:
        classifier: knows ImageNet, or whatever classes the groups are of.
        groups: of its classes.
        batch_size: images per forward pass.

    Raises:
        ConfigurationError: a group has a class that the model does not have.
    """

    def __init__(self, classifier: Classifier, groups: Groups, batch_size: int) -> None:
        self.classifier, self.groups, self.batch_size = classifier, groups, batch_size
        self.names = tuple(name for name, members in groups.items() if members)
        self.table = torch.full((classifier.classes,), -1)
        for place, name in enumerate(self.names):
            members = list(groups[name])
            if max(members) >= len(self.table):
                raise ConfigurationError(f"{name}: the model has no class {max(members)}; it has {len(self.table)}")
            self.table[members] = place
        classifier.groups = self.table

    def subject(self, data: str, splits: tuple[str, str], most: tuple[int, int], cell: Cell) -> Subject:
        """Training and test images: the first of each group that are recognised.

        Groups with fewer than ``FEWEST`` images in either split are left out.

        Args:
            data: a folder of parquet files or a hub id.
            splits: of the training and the test images.
            most: images of each group, likewise.
            cell: keeps a record by name.

        Raises:
            DataError: the data is missing, its images differ in size, it lacks a class that is a group, or fewer than
                two groups are left.
        """
        found = [self.called(data, split, cell) for split in splits]
        counts = [called.places[called.right].bincount(minlength=len(self.names)) for called in found]
        left = [place for place in range(len(self.names)) if min(int(one[place]) for one in counts) >= FEWEST]
        if len(left) < 2:
            raise DataError(f"{len(left)} groups have {FEWEST} recognised images in both splits; read more of them")
        (train, top), (test, _) = (
            self._recognised(called, left, count) for called, count in zip(found, most, strict=True)
        )
        groups: dict[str, tuple[int, ...]] = {self.names[place]: (place,) for place in left}
        summaries = [called.summary(self.groups) for called in found]
        return Subject(train, test, top, groups, dict(zip(("train", "test"), summaries, strict=True)))

    def called(self, data: str, split: str, cell: Cell) -> Called:
        """What the images of a split are called."""
        images = load_images(data, split)
        missing = [name for name in self.groups if name not in images.class_names]
        if missing:
            raise DataError(f"{data} has no class {missing[0]!r}; its classes are {', '.join(images.class_names)}")
        records = []
        for start in range(0, len(images), AT_A_TIME):
            some = images.where(torch.arange(start, min(start + AT_A_TIME, len(images))))
            records.append(cell(some.digest(), functools.partial(self._read, some)))
        top, forced = (torch.tensor([one for record in records for one in record[key]]) for key in ("top", "forced"))
        places = torch.tensor([self.names.index(name) if name in self.names else -1 for name in images.class_names])
        return Called(images, places[images.labels], top, self.table[top], forced)

    def _recognised(self, called: Called, groups: Sequence[int], most: int) -> tuple[Images, Int[Tensor, " n"]]:
        """The first ``most`` images of each group that are recognised, and the model's classes of them."""
        right = [torch.nonzero(called.right & (called.places == place)).flatten()[:most] for place in groups]
        order = torch.cat(right)
        scaled = self.classifier.scaled(called.images.where(order))
        return Images(scaled.inputs, called.places[order], self.names), called.top[order]

    def _read(self, images: Images) -> Record:
        logs = self.classifier.read(self.classifier.scaled(images), self.batch_size).log_softmax(-1)
        means = [
            logs[:, list(self.groups[name])].logsumexp(1) - math.log(len(self.groups[name])) for name in self.names
        ]
        return {"top": logs.argmax(-1).tolist(), "forced": torch.stack(means, 1).argmax(1).tolist()}
