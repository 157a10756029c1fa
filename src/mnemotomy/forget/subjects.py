"""The forget set once more, where a model recalls its subjects; for edits that are made there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from mnemotomy.core.errors import DataError, ModelError, SelectionError
from mnemotomy.core.modules import blocks_by_name
from mnemotomy.data.fact import Fact, name_of
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.cut import RelativeCut
from mnemotomy.engram.factored import FactoredConcept
from mnemotomy.engram.guards import row_concerns
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.sites import Selector, select_sites
from mnemotomy.engram.subjects import DEPTH, MLP_OUTPUTS, RATIO, Ended, at_subjects, collected, weighed
from mnemotomy.forget.found import FORGET, RETAIN
from mnemotomy.text.batches import BATCH_SIZE, batches, padded
from mnemotomy.text.encoding import MAX_LENGTH, encode, subject_end
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import Template


def sites_at_subjects(
    model: nn.Module,
    forget: Sequence[TextExample],
    retain: Sequence[TextExample],
    sites: Selector,
    layers: tuple[int, ...] | None,
    neighbours: Sequence[TextExample] = (),
) -> tuple[list[str], str]:
    """The chosen sites where an edit is made at the subjects; or none, and why not (nothing if no line has a subject).

    Raises:
        DataError: a line does not name its subject, or there are neighbours of no subject.
    """
    named = [one for one in forget if one.subject is not None]
    if not named and neighbours:
        raise DataError("neighbours are spared by edits at the subjects, but no line to forget has a 'subject'")
    if not named:
        return [], ""
    check_named([*forget, *retain])
    if len(named) < len(forget):
        return [], _skipped(f"only {len(named)} of {len(forget)} lines to forget have a 'subject'")
    try:
        lowest = round(DEPTH * len(blocks_by_name(model)))
        outputs = select_sites(model, MLP_OUTPUTS)
    except (ModelError, SelectionError):
        return [], _skipped("this model has no MLPs of a known kind")
    low = [name for name, site in outputs.items() if site.layer is not None and site.layer < lowest]
    chosen = select_sites(model, sites, layers)
    found = [name for name in low if name in chosen]
    if low and not found:
        return [], _skipped(
            f"none of the chosen sites is the second projection of an MLP in the lowest {lowest} blocks"
        )
    return found, "" if found else _skipped(f"{100 * DEPTH:.0f} % of this model's blocks is less than one")


def names_of(facts: Iterable[Fact]) -> list[TextExample]:
    """Neighbours as questions that name them; their answers play no part.

    Raises:
        DataError: a prompt does not name its subject.
    """
    found = [
        TextExample.of_question(prompt, fact.answer, fact.where or fact.subject, subject=fact.subject)
        for fact in facts
        for prompt in fact.prompts
    ]
    check_named(found)
    return found


@dataclass(frozen=True)
class Naming:
    """Sets whose lines name their subjects, and how they are read.

    Attributes:
        tokenizer: a fast one.
        forget: every line with its subject.
        retain: all of its tokens belong to the reference; lines with a subject count as neighbours, too.
        neighbours: lines that name other subjects.
        template: what stands around questions and answers.
        batch_size, max_length: as for ``text.batches.batches``.
    """

    tokenizer: Any
    forget: Sequence[TextExample]
    retain: Sequence[TextExample]
    neighbours: Sequence[TextExample]
    template: Template
    batch_size: int = BATCH_SIZE
    max_length: int = MAX_LENGTH

    def others(self) -> list[TextExample]:
        """The neighbours that are not to be forgotten."""
        own = _names(self.forget)
        named = [one for one in (*self.neighbours, *self.retain) if one.subject is not None]
        return [one for one in named if name_of(str(one.subject)) not in own]

    def moments(self, model: nn.Module, sites: Sequence[str], *, progress: bool = False) -> Moments:
        """The moments of ``FORGET`` at its subjects and of its reference, not weighed yet.

        Raises:
            DataError: a subject is not found in what the model reads.
        """
        data = at_subjects(FORGET, self._ended(self.forget), self._ended(self.others()))
        around: dict[str, Any] = {"template": self.template, "positions": "all", "batch_size": self.batch_size}
        data[RETAIN] = batches(self.tokenizer, list(self.retain), max_length=self.max_length, **around)
        return collected(model, data, sites, progress=progress)

    def told(self) -> str:
        """How many names there are, in words."""
        own = len(_names(self.forget))
        return f"{own} name{'s' if own > 1 else ''} to forget and {len(_names(self.others()))} others in the reference"

    def _ended(self, examples: Sequence[TextExample]) -> list[Ended]:
        found: list[Ended] = []
        how: dict[str, Any] = {"template": self.template, "max_length": self.max_length}
        for start in range(0, len(examples), self.batch_size):
            some = examples[start : start + self.batch_size]
            rows = [encode(one, self.tokenizer, **how) for one in some]
            ends = [subject_end(one, self.tokenizer, **how) for one in some]
            found.append((padded(rows, self.tokenizer, "all"), ends))
        return found


def factored_at_subjects(
    model: nn.Module, naming: Naming, sites: Sequence[str], *, progress: bool
) -> tuple[FactoredConcept | None, str]:
    """The forget set at its subjects, with what it is made of in words; or None, and why not."""
    try:
        moments = naming.moments(model, sites, progress=progress)
    except DataError as error:
        return None, _skipped(str(error))
    if concerns := row_concerns(moments, [FORGET]):
        return None, _skipped(concerns[0])
    atlas = Atlas(model, weighed(moments, FORGET), RelativeCut(RATIO), keep=1)
    blocks = f"{len(sites)} of the {len(blocks_by_name(model))} blocks"
    note = f"edits at the subjects are of the MLPs in {blocks}, with {naming.told()}"
    return FactoredConcept(atlas, FORGET, progress=progress, residual=1e-3 * RATIO), note


def _names(examples: Iterable[TextExample]) -> set[str]:
    return {name_of(str(one.subject)) for one in examples}


def check_named(examples: Iterable[TextExample]) -> None:
    """Refuse a line that does not name its subject.

    Raises:
        DataError: it says which.
    """
    for one in examples:
        if one.subject is not None:
            _ = one.naming


def _skipped(why: str) -> str:
    return f"no edit at the subjects was tried: {why}"
