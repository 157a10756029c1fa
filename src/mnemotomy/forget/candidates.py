"""Candidate edits: filters of μ, strengths and kinds of projection, and those that are tried first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mnemotomy.engram.filters import Filter, Hard, Soft, Steep
from mnemotomy.engram.subjects import DEPTH

Form = Literal["projector", "steep", "paper", "weight-norm", "two-sided", "automatic"]
Kinds = Literal["all", "attention", "mlp"]
Blocks = Literal["all", "upper two thirds", "upper third"]


@dataclass(frozen=True)
class Candidate:
    """One edit to try.

    Attributes:
        form: the filter of μ: the projector on ``μ > threshold``, a steep one at ``threshold · n⁺/N``, the paper's μ,
            the paper's with a strength by weight norm; the two-sided edit, with ``threshold`` as its damping; or, for
            classifiers, the filter and strengths that ``engram-automatic`` chooses.
        threshold: of the form; 0 where it has none.
        outputs: take only what also writes in the concept's directions.
        strength: α; of the two-sided edit, the weight of its repairs.
        kinds: which projections.
        blocks: of which blocks. Thirty blocks multiply what each takes from neighbours: on SmolLM2 the upper third
            alone forgets as fully as all, at a tenth of the KL.
        head: α of a classifier's head, which counts to no block; None for the same.
        subjects: made at the subjects instead, in the MLPs of the lowest blocks; kinds and blocks do not count.
    """

    form: Form = "projector"
    threshold: float = 0.5
    outputs: bool = True
    strength: float = 1.0
    kinds: Kinds = "all"
    blocks: Blocks = "upper two thirds"
    head: float | None = None
    subjects: bool = False

    def __str__(self) -> str:
        return self.named()

    def named(self, blocks: str = "") -> str:
        """Its name, with the blocks that it edits where they are known."""
        if self.form == "automatic":
            return "automatic"
        if self.form == "two-sided":
            repairs = "" if self.strength == 1.0 else f", repairs times {self.strength:g}"
            return f"two-sided, damping {self.threshold:g}{repairs}{blocks and ', '}{blocks}"
        at = {"projector": f" on μ > {self.threshold:g}", "steep": f" at {self.threshold:g} n⁺/N"}.get(self.form, "")
        name = {"paper": "the paper's μ", "weight-norm": "the paper's μ by weight norm"}.get(self.form, self.form)
        parts = [name + at, *(["with outputs"] if self.outputs else []), f"α = {self.strength:g}"]
        parts += [] if self.head is None else [f"α = {self.head:g} at the head"]
        if self.subjects:
            blocks = blocks or f"the lowest {100 * DEPTH:.0f} % of the blocks"
            return f"at the subjects, MLPs of {blocks}: {', '.join(parts)}"
        parts += [f"{self.kinds} only"] if self.kinds != "all" else []
        usual = "all blocks" if self.blocks == "all" else f"{self.blocks} of the blocks"
        return ", ".join([*parts, blocks or usual])

    def params(self) -> dict[str, Any]:
        """The candidate as Optuna's parameters (``suggested``)."""
        found: dict[str, Any] = {AT: self.subjects, (f"form {AT}" if self.subjects else "form"): self.form}
        if self.form in THRESHOLDS:
            found[f"{self.form} threshold"] = self.threshold
        if self.form in METHODS:
            return found | ({"repair": self.strength} if self.form == "two-sided" else {})
        if self.subjects:
            return found | {f"strength {AT}": self.strength}
        found |= {"outputs": self.outputs, "strength": self.strength, "blocks": self.blocks}
        return found | ({"kinds": self.kinds} if self.head is None else {"head": self.head})

    def filter(self) -> Filter:
        """The function of μ."""
        return {"projector": Hard, "steep": Steep}[self.form](self.threshold) if self.form in FILTERED else Soft()

    def two_sided(self) -> dict[str, Any]:
        """The settings of the two-sided edit that are not its defaults."""
        return {"damping": self.threshold, "repair": self.strength, "read": READ, "repairing": READ}

    def recipe(self) -> dict[str, Any]:
        """The candidate in a recipe's words, and by name."""
        unsaid = ("kinds", "blocks") if self.subjects else ("subjects",)
        return {"name": str(self), **{name: value for name, value in asdict(self).items() if name not in unsaid}}


FILTERS: tuple[Form, ...] = ("projector", "steep", "paper", "weight-norm")
FILTERED = FILTERS[:2]
METHODS: tuple[Form, ...] = ("two-sided", "automatic")
"""Forms that a method makes, not a filter of μ."""
THRESHOLDS: Mapping[str, tuple[float, float]] = {
    "projector": (0.2, 0.9),
    "steep": (1.5, 8.0),
    "two-sided": (0.002, 0.1),
}
"""The ranges of the search for language models, by form."""

FIRST = (
    Candidate("paper", 0.0, strength=1.5, kinds="attention", blocks="upper third"),
    Candidate("paper", 0.0, strength=2.0, kinds="attention", blocks="upper third"),
    Candidate("paper", 0.0, strength=3.0, kinds="attention", blocks="upper third"),  # one fact: μ is small with n⁺/N
    Candidate("paper", 0.0, strength=4.0, kinds="attention", blocks="upper third"),
    Candidate("paper", 0.0, strength=1.5, kinds="attention", blocks="all"),
    Candidate("projector", 0.5),
    Candidate("paper", 0.0, blocks="upper third"),
    Candidate("projector", 0.5, blocks="all"),
    Candidate("paper", 0.0, blocks="all"),
    Candidate("projector", 0.5, outputs=False, blocks="all"),
    Candidate("steep", 3.0),
    Candidate("paper", 0.0, outputs=False, blocks="all"),
    Candidate("weight-norm", 0.0, outputs=False, blocks="all"),
    Candidate("projector", 0.5, blocks="upper third"),
    Candidate("projector", 0.5, strength=1.5, blocks="all"),
    Candidate("steep", 2.3, outputs=False, strength=2.4, kinds="mlp", blocks="all"),
)
"""Tried in this order before the search proposes any, so that a short search has the best that is known beforehand."""

TWO_SIDED = (
    Candidate("two-sided", 0.01),
    Candidate("two-sided", 0.01, strength=1.2),
    Candidate("two-sided", 0.002),
)
"""Tried after them where there is time: minutes each on a large model."""

AT = "at the subjects"

AT_SUBJECTS = (
    Candidate("projector", 0.2, outputs=False, subjects=True),
    Candidate("projector", 0.3, outputs=False, subjects=True),
    Candidate("projector", 0.5, outputs=False, subjects=True),
    Candidate("paper", 0.0, outputs=False, subjects=True),
)
"""Tried before all of them where every line to forget has a subject. Keeping outputs, they forget nothing there."""


def first(two_sided: bool, subjects: bool = False) -> tuple[Candidate, ...]:
    """What a search among edits of a language model tries before it proposes any."""
    usual = (*FIRST[:4], *TWO_SIDED[:1], *FIRST[4:], *TWO_SIDED[1:]) if two_sided else FIRST
    return (*AT_SUBJECTS, *usual) if subjects else usual


READ = 400
"""Retained examples that the two-sided edit reads for its factors, and as many others for its repairs, at most. Its
own defaults cost half as much and lose more of what is retained, and only with so many may repairs weigh more."""


def edited_sites(candidate: Candidate, layers: Mapping[str, int | None]) -> list[str]:
    """The sites that a filter of μ edits, of those with their block; None counts to the first block."""
    wanted, count = _KINDS[candidate.kinds], 1 + max(layer or 0 for layer in layers.values())
    lowest = first_of(count, candidate.blocks)
    return [site for site, layer in layers.items() if wanted(site) and (layer or 0) >= lowest]


def first_of(count: int, blocks: Blocks) -> int:
    """The first of ``count`` blocks to edit."""
    return {"all": 0, "upper two thirds": count // 3, "upper third": 2 * count // 3}[blocks]


def _is_attention(site: str) -> bool:
    return any("att" in part.lower() for part in site.split("."))


_KINDS: Mapping[str, Callable[[str], bool]] = {
    "all": lambda site: True,
    "attention": _is_attention,
    "mlp": lambda site: not _is_attention(site),
}
