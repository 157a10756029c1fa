"""Where candidates become edits of a model, and what a search proposes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast, get_args

from mnemotomy.core.printable import spans
from mnemotomy.curvature.ascent import SharedStart
from mnemotomy.engram.deltas import Dense, Term
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.factored import FactoredConcept
from mnemotomy.engram.sites import sites_by_name
from mnemotomy.forget.candidates import (
    AT,
    FILTERS,
    METHODS,
    THRESHOLDS,
    Blocks,
    Candidate,
    Form,
    Kinds,
    edited_sites,
    first,
)
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.two_sided import TwoSided

if TYPE_CHECKING:
    from optuna.trial import Trial

STRENGTHS_AT_SUBJECTS = (0.5, 2.0)
"""Beyond 3, the kept answers of SmolLM2 are lost."""

REPAIRS = (0.8, 1.5)
"""The range of the weight of the two-sided edit's repairs; far beyond 1, they may break a model."""


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
        different: dict[Any, Candidate] = {}  # within chosen layers, all blocks may be those of the upper third
        for one in first(two_sided, subjects is not None):
            sites = () if one.form in METHODS else tuple(self._edited(one))
            if one.form in METHODS or sites:
                different.setdefault((replace(one, kinds="all", blocks="all"), sites), one)
        self.first = list(different.values())

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


def _blocks_of(layers: Iterable[int | None]) -> str:
    """The blocks in words, as in ``blocks 0-3, 7``."""
    found = {one for one in layers if one is not None}
    return f"block{'s' if len(found) > 1 else ''} {', '.join(spans(found))}" if found else "no block"
