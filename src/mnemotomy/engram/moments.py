"""Second moments of every site's input, per concept: the sufficient statistics of all engrams (Eq. 19, 23)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnemotomy.core.bounded import check_count
from mnemotomy.core.errors import ArtifactError, ConceptError, FingerprintError, MergeError, SelectionError
from mnemotomy.engram.moments_header import MOMENTS_FILE
from mnemotomy.engram.second_moment import SecondMoment

Statistic = dict[str, SecondMoment]
"""The moment of each concept for one distinct input."""


@dataclass(frozen=True)
class Origin:
    """Where moments come from; written into every artifact.

    Attributes:
        fingerprint: of the model (``mnemotomy.core.fingerprints.fingerprint``).
        model: its class.
        selector: the sites that were selected.
        layers: the blocks that were selected, if any.
        model_dtype, moment_dtype: of the activations and of the sums.
        rows: the most rows read of each image at a convolution; None for all.
        text: how concept files became rows: ``positions``, ``template`` and ``max_length``, as in a recipe; None if the
            caller made the batches.
        examples: how many examples each concept had.
        versions: of the software that computed them.
    """

    fingerprint: str
    model: str
    selector: str | tuple[str, ...]
    layers: tuple[int, ...] | None
    model_dtype: str
    moment_dtype: str
    rows: int | None = None
    text: dict[str, Any] | None = None
    examples: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Moments:
    """Second moments per distinct input and concept; additive over batches, processes, machines and data sets.

    Attributes:
        statistics: per distinct input (named after the first site that reads it), the moment of every concept.
        readers: per site, the name of the input it reads. q, k and v share one.
        concepts: the concepts in the order they were first seen.
        origin: the model, selection and versions behind them.
    """

    statistics: Mapping[str, Statistic]
    readers: Mapping[str, str]
    concepts: tuple[str, ...]
    origin: Origin

    def moment(self, site: str, concept: str) -> SecondMoment:
        """The second moment of ``site``'s input over the rows of ``concept``.

        Raises:
            SelectionError: no such site was collected.
            ConceptError: no such concept was collected.
        """
        if site not in self.readers:
            raise SelectionError(f"no moments of site {site!r}; there are {_some(self.readers)}")
        statistic = self.statistics[self.readers[site]]
        if concept not in statistic:
            raise ConceptError(f"no concept {concept!r}; there are {_some(self.concepts)}")
        return statistic[concept]

    def union(self, site: str, concepts: Sequence[str]) -> SecondMoment:
        """The second moment of ``site``'s input over the rows of all ``concepts``; errors as for ``moment``."""
        return SecondMoment.of_all([self.moment(site, concept) for concept in concepts])

    def count(self, site: str, concept: str) -> int:
        """How many rows of ``concept`` reached ``site``."""
        return self.moment(site, concept).count

    def __add__(self, other: Moments) -> Moments:
        """The moments of both collections: concepts of the same name are added, others kept side by side.

        Raises:
            MergeError: they are of different models or sites.
        """
        if not isinstance(other, Moments):
            return NotImplemented
        if self.origin.fingerprint != other.origin.fingerprint:
            raise MergeError("these moments come from two different models; add moments of one model only")
        if self.origin.rows != other.origin.rows:
            raise MergeError(
                f"these moments were collected with rows={self.origin.rows} and rows={other.origin.rows}, so examples "
                "of one would outweigh those of the other; collect both alike"
            )
        if None not in (self.origin.text, other.origin.text) and self.origin.text != other.origin.text:
            raise MergeError(
                f"these moments read texts differently, {self.origin.text} and {other.origin.text}; collect both alike"
            )
        same = (self.origin.selector, self.origin.layers) == (other.origin.selector, other.origin.layers)
        odd = sorted(set(self.readers) ^ set(other.readers))
        if odd and not same:  # within one selection, only sites that no row reached (experts) can be missing
            raise MergeError(f"these moments are of different sites: {odd[0]!r} is only in one of them")
        # if one side shares a statistic that the other keeps apart, the result keeps it apart
        readers: dict[str, str] = {}
        statistics: dict[str, Statistic] = {}
        names: dict[tuple[str | None, str | None], str] = {}
        for site in (*self.readers, *(site for site in other.readers if site not in self.readers)):
            pair = (self.readers.get(site), other.readers.get(site))
            if pair not in names:
                names[pair] = site
                statistics[site] = _add(self._of_input(pair[0]), other._of_input(pair[1]))
            readers[site] = names[pair]
        concepts = (*self.concepts, *(c for c in other.concepts if c not in self.concepts))
        examples = {
            c: self.origin.examples.get(c, 0) + other.origin.examples.get(c, 0)
            for c in (*self.origin.examples, *other.origin.examples)
        }
        statistics = {name: _complete(statistic, concepts) for name, statistic in statistics.items()}
        return Moments(statistics, readers, concepts, replace(self.origin, examples=examples))

    def group(self, groups: Mapping[str, Sequence[str]]) -> Moments:
        """The same moments with concepts merged: each group becomes one concept; other concepts are kept.

        Raises:
            ConceptError: a member is unknown or given twice, or a group is empty or has the name of another concept.
        """
        members = [member for group in groups.values() for member in group]
        for member in members:
            if member not in self.concepts:
                raise ConceptError(f"no concept {member!r}; there are {_some(self.concepts)}")
            if members.count(member) > 1:
                raise ConceptError(f"concept {member!r} is given twice, so its rows would count twice")
        for name, group in groups.items():
            if not group:
                raise ConceptError(f"group {name!r} is empty; give it concepts")
            if name in self.concepts and name not in members:
                raise ConceptError(f"group {name!r} would replace the concept of that name; choose another name")
        whole = {c: (c,) for c in self.concepts if c not in members} | {n: tuple(g) for n, g in groups.items()}
        statistics = {
            name: {new: SecondMoment.of_all([statistic[old] for old in group]) for new, group in whole.items()}
            for name, statistic in self.statistics.items()
        }
        examples = {new: sum(self.origin.examples.get(old, 0) for old in group) for new, group in whole.items()}
        return Moments(statistics, self.readers, tuple(whole), replace(self.origin, examples=examples))

    def repeated(self, times: Mapping[str, int]) -> Moments:
        """The same moments as if these concepts had been read that often, so that they weigh more in a reference.

        Raises:
            ConceptError: a concept is unknown.
            ConfigurationError: a number is below 1.
        """
        for concept, count in times.items():
            if concept not in self.concepts:
                raise ConceptError(f"no concept {concept!r}; there are {_some(self.concepts)}")
            check_count(f"the number of times for {concept!r}", count)
        statistics = {
            name: {
                concept: moment.times(times[concept]) if concept in times else moment
                for concept, moment in statistic.items()
            }
            for name, statistic in self.statistics.items()
        }
        examples = {name: count * times.get(name, 1) for name, count in self.origin.examples.items()}
        return Moments(statistics, self.readers, self.concepts, replace(self.origin, examples=examples))

    def check(self, fingerprint: str) -> None:
        """Refuse a model other than the one that was collected.

        Raises:
            FingerprintError: the fingerprints differ.
        """
        if fingerprint != self.origin.fingerprint:
            raise FingerprintError(
                f"the moments were collected on another model ({self.origin.model}, fingerprint "
                f"{self.origin.fingerprint[:12]}) than this one ({fingerprint[:12]}); collect again, or pass "
                "check=False if you know that they fit"
            )

    def _of_input(self, name: str | None) -> Statistic:
        return {} if name is None else self.statistics[name]

    def save(self, path: str | Path, *, progress: dict[str, Any] | None = None) -> None:
        """Write a safetensors file: triangles of the symmetric matrices, counts, selector, fingerprint, versions.

        Args:
            path: of the file.
            progress: how far the collection is, if it is unfinished.
        """
        tensors: dict[str, Tensor] = {}
        shapes: dict[str, dict[str, Any]] = {}
        written: set[int] = set()
        for i, (name, statistic) in enumerate(self.statistics.items()):
            shapes[name] = {}
            for j, concept in enumerate(self.concepts):
                if concept not in statistic:
                    continue
                moment = statistic[concept]
                tensors[f"{i}.{j}.second"] = _own(moment.triangle, written)
                tensors[f"{i}.{j}.first"] = _own(moment.first, written)
                shapes[name][concept] = {"key": f"{i}.{j}", "shape": list(moment.shape), "count": moment.count}
        header = {
            "origin": asdict(self.origin),
            "readers": dict(self.readers),
            "concepts": list(self.concepts),
            "statistics": shapes,
            "progress": progress,
        }
        MOMENTS_FILE.write(path, tensors, header)

    @classmethod
    def load(cls, path: str | Path, *, verify: bool = True) -> Moments:
        """Read what ``save`` wrote; ``verify`` checks it against the hash of its content, which reads all of it.

        Raises:
            ArtifactError: the file is missing, damaged, not a moments file, or the checkpoint of an unfinished
                collection.
        """
        moments, progress = cls.load_unfinished(path, verify=verify)
        if progress is not None:
            raise ArtifactError(
                f"{path} is the checkpoint of an unfinished collection ({progress['batches']} batches); run the "
                "collection again to finish it"
            )
        return moments

    @classmethod
    def load_unfinished(cls, path: str | Path, *, verify: bool = True) -> tuple[Moments, dict[str, Any] | None]:
        """The moments of a file and, if the collection is unfinished, its progress.

        Raises:
            ArtifactError: the file is missing, damaged, of another kind or of a later version.
        """
        with MOMENTS_FILE.reading(path, verify=verify) as (file, header):
            statistics: dict[str, Statistic] = {}
            for name, entries in header["statistics"].items():
                statistics[name] = {}
                for concept, entry in entries.items():
                    triangle = file.get_tensor(f"{entry['key']}.second")
                    first = file.get_tensor(f"{entry['key']}.first")
                    if {triangle.dtype, first.dtype} - {torch.float32, torch.float64}:
                        raise ValueError("a sum is neither in float32 nor in float64")
                    moment = SecondMoment.from_triangle(triangle, entry["shape"], first, int(entry["count"]))
                    statistics[name][concept] = moment
            origin = dict(header["origin"])
            for name in ("selector", "layers"):
                if isinstance(origin[name], list):
                    origin[name] = tuple(origin[name])
            if not statistics.keys() >= set(header["readers"].values()) and header["progress"] is None:
                raise ValueError("a site has no statistic")
            return cls(statistics, header["readers"], tuple(header["concepts"]), Origin(**origin)), header["progress"]

    def to(self, device: torch.device | str) -> Moments:
        """The same moments on another device."""
        moved = {
            name: {concept: moment.to(device) for concept, moment in statistic.items()}
            for name, statistic in self.statistics.items()
        }
        return replace(self, statistics=moved)

    def describe(self) -> dict[str, Any]:
        """The origin and the sizes, for logs and reports."""
        elements = sum(m.triangle.numel() + m.first.numel() for s in self.statistics.values() for m in s.values())
        return {
            **asdict(self.origin),
            "concepts": list(self.concepts),
            "sites": len(self.readers),
            "distinct_inputs": len(self.statistics),
            "numbers": elements,
        }


def _complete(statistic: Statistic, concepts: Sequence[str]) -> Statistic:
    """``statistic`` with zeros for each concept that has not reached the input."""
    like = next(iter(statistic.values()))
    return {concept: statistic.get(concept) or like.zeros_like() for concept in concepts}


def _add(left: Statistic, right: Statistic) -> Statistic:
    return {c: left[c] + right[c] if c in left and c in right else (left.get(c) or right[c]) for c in (*left, *right)}


def _own(tensor: Tensor, written: set[int]) -> Tensor:
    """The tensor on the CPU; a copy if another entry shares its memory, as two inputs may after a merge."""
    found = tensor.contiguous().cpu()
    if found.data_ptr() in written:
        found = found.clone()
    written.add(found.data_ptr())
    return found


def _some(names: Sequence[str] | Mapping[str, Any], shown: int = 8) -> str:
    listed = list(names)
    return ", ".join(map(repr, listed[:shown])) + (", ..." if len(listed) > shown else "")
