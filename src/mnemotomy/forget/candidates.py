"""Candidate edits: one concept, decomposed once, under many filters, strengths and kinds of projection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from mnemotomy.curvature.ascent import SharedStart
from mnemotomy.engram.deltas import Dense, Term
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.factored import FactoredConcept
from mnemotomy.engram.filters import Filter, Hard, Soft, Steep
from mnemotomy.engram.sites import sites_by_name
from mnemotomy.engram.subjects import DEPTH
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.two_sided import TwoSided

if TYPE_CHECKING:
    from optuna.trial import Trial

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

STRENGTHS_AT_SUBJECTS = (0.5, 2.0)
"""Beyond 3, the kept answers of SmolLM2 are lost."""


def first(two_sided: bool, subjects: bool = False) -> tuple[Candidate, ...]:
    """What a search among edits of a language model tries before it proposes any."""
    usual = (*FIRST[:4], *TWO_SIDED[:1], *FIRST[4:], *TWO_SIDED[1:]) if two_sided else FIRST
    return (*AT_SUBJECTS, *usual) if subjects else usual


READ = 400
"""Retained examples that the two-sided edit reads for its factors, and as many others for its repairs, at most. Its
own defaults cost half as much and lose more of what is retained, and only with so many may repairs weigh more."""

REPAIRS = (0.8, 1.5)
"""The range of their weight; far beyond 1, they may break a model."""


class Workshop(ABC):
    """What a search may try, and the edits of its candidates, from one decomposition.

    Args:
        factored: the forget set's engrams.
        problem: the model and its sets, for methods.

    Attributes:
        first: candidates to try before the search proposes any.
        methods: those of ``METHODS`` to propose.
        thresholds: the range of the threshold, by form.
        strengths: the range of α.
    """

    first: Sequence[Candidate]
    methods: Sequence[Form]
    thresholds: Mapping[str, tuple[float, float]]
    strengths: tuple[float, float]

    def __init__(self, factored: FactoredConcept, problem: Any) -> None:
        self.factored, self.problem = factored, problem
        self._made: dict[Candidate, Edit] = {}
        self._shared = SharedStart()

    def suggested(self, trial: Trial) -> Candidate:
        """The candidate that Optuna proposes."""
        form = cast(Form, trial.suggest_categorical("form", [*FILTERS, *self.methods]))
        threshold = self.suggest_threshold(trial, form)
        if form in self.methods:
            return Candidate(form, threshold)
        fields = {
            "outputs": trial.suggest_categorical("outputs", [True, False]),
            "strength": round(trial.suggest_float("strength", *self.strengths), 2),
            **self.suggest_own(trial),
            "blocks": trial.suggest_categorical("blocks", list(get_args(Blocks))),
        }
        return Candidate(form, threshold, **fields)

    def named(self, candidate: Candidate) -> str:
        """The candidate's name; where blocks or sites were chosen, with the blocks that it really edits."""
        return str(candidate)

    def about(self, candidate: Candidate) -> dict[str, Any]:
        """The candidate in a recipe's words, and by name."""
        return candidate.recipe() | {"name": self.named(candidate)}

    def suggest_threshold(self, trial: Trial, form: Form) -> float:
        """The form's threshold; 0 where it has none."""
        if form not in self.thresholds:
            return 0.0
        low, high = self.thresholds[form]
        return round(trial.suggest_float(f"{form} threshold", low, high, log=form != "projector"), 3)

    @abstractmethod
    def suggest_own(self, trial: Trial) -> dict[str, Any]:
        """The fields of a candidate by a filter of μ that only this kind of model has."""

    def edit(self, candidate: Candidate) -> Edit:
        """The candidate's edit. A method's is as large as the model, so only the last one is kept."""
        if candidate.form not in METHODS:
            return self.by_filter(candidate)
        if candidate not in self._made:
            self._made = {candidate: self.by_method(candidate)}
        return self._made[candidate]

    @abstractmethod
    def by_filter(self, candidate: Candidate) -> Edit:
        """The edit by a filter of μ."""

    @abstractmethod
    def by_method(self, candidate: Candidate) -> Edit:
        """The edit that a method makes."""

    def release(self) -> None:
        """Free what the two-sided edits share; another one is slower again."""
        self._shared.release()

    def filtered(self, candidate: Candidate, strengths: Mapping[str, float], of: FactoredConcept | None = None) -> Edit:
        """The edit by a filter of μ at these sites, computed as it is applied."""
        factored = of or self.factored
        factored.decompose(factored.names if candidate.form == "weight-norm" else strengths)
        engram = factored.filtered(candidate.filter(), outputs=candidate.outputs)
        by_site = engram.weight_norms() if candidate.form == "weight-norm" else dict.fromkeys(engram.sites(), 1.0)
        return engram.times({site: -alpha * by_site[site] for site, alpha in strengths.items()})

    def made_by(self, method: Any, names: Iterable[str]) -> Edit:
        """What a method with a damping changes at these sites."""
        before, after, names = self.problem.model, method(self.problem, self._shared), list(names)
        old, new = sites_by_name(before, names), sites_by_name(after, names)
        deltas = {name: (new[name].weight() - old[name].weight()).float() for name in names}
        changed = {name: delta for name, delta in deltas.items() if bool((delta != 0).any())}
        about = {"method": method.name, "damping": method.damping, "concepts": ["forget"]}
        return Edit((Term(1.0, Dense(changed, self.factored.engram.fingerprint, about)),))


class TextWorkshop(Workshop):
    """The candidates for a language model.

    Args:
        factored: the forget set's engrams.
        problem: for the two-sided edit.
        two_sided: whether to try it.
        places: ``sites`` and ``layers`` of the two-sided edit, if they were chosen.
        subjects: the forget set at its subjects, where edits are to be made there too.
    """

    thresholds = THRESHOLDS
    strengths = (0.4, 5.0)

    def __init__(
        self,
        factored: FactoredConcept,
        problem: TextProblem,
        *,
        two_sided: bool,
        places: Mapping[str, Any] | None = None,
        subjects: FactoredConcept | None = None,
    ) -> None:
        super().__init__(factored, problem)
        self.places, self.subjects = places or {}, subjects
        self.methods = ("two-sided",) if two_sided else ()
        usual = first(two_sided, subjects is not None)
        self.first = [one for one in usual if one.form in METHODS or self._edited(one)]

    def suggested(self, trial: Trial) -> Candidate:
        if self.subjects is not None and trial.suggest_categorical(AT, [True, False]):
            form = cast(Form, trial.suggest_categorical(f"form {AT}", ["projector", "steep", "paper"]))
            threshold = self.suggest_threshold(trial, form)
            strength = round(trial.suggest_float(f"strength {AT}", *STRENGTHS_AT_SUBJECTS), 2)
            return Candidate(form, threshold, outputs=False, strength=strength, subjects=True)
        found = super().suggested(trial)
        if found.form != "two-sided":
            return found
        return replace(found, strength=round(trial.suggest_float("repair", *REPAIRS), 2))

    def named(self, candidate: Candidate) -> str:
        return candidate.named(_blocks_of(self._edited(candidate).values()) if self.places else "")

    def suggest_own(self, trial: Trial) -> dict[str, Any]:
        return {"kinds": trial.suggest_categorical("kinds", list(get_args(Kinds)))}

    def by_filter(self, candidate: Candidate) -> Edit:
        of = self.subjects if candidate.subjects else None
        return self.filtered(candidate, dict.fromkeys(self._edited(candidate), candidate.strength), of)

    def by_method(self, candidate: Candidate) -> Edit:
        return self.made_by(self._two_sided(candidate), self._edited(candidate))

    def _two_sided(self, candidate: Candidate) -> TwoSided:
        return TwoSided(**candidate.two_sided(), **self.places)

    def _edited(self, candidate: Candidate) -> dict[str, int | None]:
        """The sites that it edits, each with its block."""
        if candidate.form in METHODS:
            found = self._two_sided(candidate).linear_sites(self.problem.model)
            return {name: site.layer for name, site in found.items()}
        factored = self.subjects if candidate.subjects and self.subjects is not None else self.factored
        layers = {site: factored.sites[site].layer for site in factored.names}
        names = layers if candidate.subjects else edited_sites(candidate, layers)
        return {name: layers[name] for name in names}


def edited_sites(candidate: Candidate, layers: Mapping[str, int | None]) -> list[str]:
    """The sites that a filter of μ edits, of those with their block; None counts to the first block."""
    wanted, count = _KINDS[candidate.kinds], 1 + max(layer or 0 for layer in layers.values())
    lowest = first_of(count, candidate.blocks)
    return [site for site, layer in layers.items() if wanted(site) and (layer or 0) >= lowest]


def first_of(count: int, blocks: Blocks) -> int:
    """The first of ``count`` blocks to edit."""
    return {"all": 0, "upper two thirds": count // 3, "upper third": 2 * count // 3}[blocks]


def _blocks_of(layers: Iterable[int | None]) -> str:
    """The blocks in words, as in ``blocks 0-3, 7``."""
    runs: list[list[int]] = []
    for layer in sorted({one for one in layers if one is not None}):
        runs = [*runs[:-1], [runs[-1][0], layer]] if runs and runs[-1][-1] == layer - 1 else [*runs, [layer]]
    if not runs:
        return "no block"
    several = len(runs) > 1 or len(runs[0]) > 1
    return f"block{'s' if several else ''} {', '.join('-'.join(map(str, run)) for run in runs)}"


def _is_attention(site: str) -> bool:
    return any("att" in part.lower() for part in site.split("."))


_KINDS: Mapping[str, Callable[[str], bool]] = {
    "all": lambda site: True,
    "attention": _is_attention,
    "mlp": lambda site: not _is_attention(site),
}
