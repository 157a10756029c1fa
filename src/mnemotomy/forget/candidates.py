"""Candidate edits: one concept, decomposed once, under many filters, strengths and kinds of projection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import nn

from mnemotomy.engram.deltas import Dense, Term
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.factored import FactoredConcept
from mnemotomy.engram.filters import Filter, Hard, Soft, Steep
from mnemotomy.engram.sites import sites_by_name
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.two_sided import TwoSided

if TYPE_CHECKING:
    from optuna.trial import Trial

Form = Literal["projector", "steep", "paper", "weight-norm", "two-sided"]
Kinds = Literal["all", "attention", "mlp"]
Blocks = Literal["all", "upper two thirds", "upper third"]


@dataclass(frozen=True)
class Candidate:
    """One edit to try.

    Attributes:
        form: the filter of μ: the projector on ``μ > threshold``, a steep one at ``threshold · n⁺/N``, the paper's μ,
            the paper's with a strength by weight norm; or the two-sided edit, with ``threshold`` as its damping.
        threshold: of the form; 0 where it has none.
        outputs: take only what also writes in the concept's directions.
        strength: α.
        kinds: which projections.
        blocks: of which blocks. Thirty blocks multiply what each takes from neighbours: on SmolLM2 the upper third
            alone forgets as fully as all, at a tenth of the KL.
    """

    form: Form = "projector"
    threshold: float = 0.5
    outputs: bool = True
    strength: float = 1.0
    kinds: Kinds = "all"
    blocks: Blocks = "upper two thirds"

    def __str__(self) -> str:
        if self.form == "two-sided":
            return f"two-sided, damping {self.threshold:g}"
        at = {"projector": f" on μ > {self.threshold:g}", "steep": f" at {self.threshold:g} n⁺/N"}.get(self.form, "")
        name = {"paper": "the paper's μ", "weight-norm": "the paper's μ by weight norm"}.get(self.form, self.form)
        parts = [name + at, *(["with outputs"] if self.outputs else []), f"α = {self.strength:g}"]
        parts += [f"{self.kinds} only"] if self.kinds != "all" else []
        return ", ".join([*parts, f"{self.blocks} of the blocks" if self.blocks != "all" else "all blocks"])

    def params(self) -> dict[str, Any]:
        """The candidate as Optuna's parameters (``suggested``)."""
        found: dict[str, Any] = {"form": self.form}
        if self.form in THRESHOLDS:
            found[f"{self.form} threshold"] = self.threshold
        if self.form != "two-sided":
            found |= {"outputs": self.outputs, "strength": self.strength, "kinds": self.kinds, "blocks": self.blocks}
        return found

    def filter(self) -> Filter:
        """The function of μ."""
        return {"projector": Hard, "steep": Steep}[self.form](self.threshold) if self.form in FILTERED else Soft()

    def recipe(self) -> dict[str, Any]:
        """The candidate in a recipe's words, and by name."""
        return {"name": str(self), **asdict(self)}


FILTERED = ("projector", "steep")
THRESHOLDS: Mapping[str, tuple[float, float]] = {
    "projector": (0.2, 0.9),
    "steep": (1.5, 8.0),
    "two-sided": (0.002, 0.1),
}
"""The ranges of the search, by form."""

FIRST = (
    Candidate("paper", 0.0, strength=1.5, kinds="attention", blocks="upper third"),
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
"""Tried in this order before the search proposes any, so that a short search has the best that is known by heart."""

TWO_SIDED = (Candidate("two-sided", 0.01), Candidate("two-sided", 0.05), Candidate("two-sided", 0.002))
"""Tried after them where there is time: minutes each on a large model."""


def suggested(trial: Trial, two_sided: bool) -> Candidate:
    """The candidate that Optuna proposes."""
    forms = [form for form in get_args(Form) if two_sided or form != "two-sided"]
    form = trial.suggest_categorical("form", forms)
    threshold = 0.0
    if form in THRESHOLDS:
        low, high = THRESHOLDS[form]
        threshold = round(trial.suggest_float(f"{form} threshold", low, high, log=form != "projector"), 3)
    if form == "two-sided":
        return Candidate(form, threshold)
    return Candidate(
        form,
        threshold,
        trial.suggest_categorical("outputs", [True, False]),
        round(trial.suggest_float("strength", 0.4, 2.5), 2),
        trial.suggest_categorical("kinds", list(get_args(Kinds))),
        trial.suggest_categorical("blocks", list(get_args(Blocks))),
    )


class Workshop:
    """Makes the edits of candidates from one decomposition.

    Args:
        factored: the forget set's engrams.
        problem: for the two-sided edit.
    """

    def __init__(self, factored: FactoredConcept, problem: TextProblem) -> None:
        self.factored, self.problem = factored, problem
        self._dense: dict[float, Edit] = {}

    def edit(self, candidate: Candidate) -> Edit:
        """The candidate's edit, computed as it is applied."""
        if candidate.form == "two-sided":
            return self._two_sided(candidate.threshold)
        engram = self.factored.filtered(candidate.filter(), outputs=candidate.outputs)
        by_site = engram.weight_norms() if candidate.form == "weight-norm" else dict.fromkeys(engram.sites(), 1.0)
        wanted, lowest = _KINDS[candidate.kinds], self._lowest(candidate.blocks)
        return engram.times(
            {
                site: -candidate.strength * alpha
                for site, alpha in by_site.items()
                if wanted(site) and self._layer(site) >= lowest
            }
        )

    def _layer(self, site: str) -> int:
        """The site's block; 0 for one outside of the blocks."""
        return self.factored.sites[site].layer or 0

    def _lowest(self, blocks: Blocks) -> int:
        """The first block to edit."""
        count = 1 + max(map(self._layer, self.factored.sites))
        return {"all": 0, "upper two thirds": count // 3, "upper third": 2 * count // 3}[blocks]

    def _two_sided(self, damping: float) -> Edit:
        if damping not in self._dense:
            method = TwoSided(damping=damping)
            edited = method(self.problem)
            self._dense = {damping: difference(self.problem.model, edited, self.factored.engram.fingerprint, method)}
        return self._dense[damping]


def difference(before: nn.Module, after: nn.Module, fingerprint: str, method: TwoSided) -> Edit:
    """What an edited copy of a model has that the model has not, as an edit."""
    names = list(method.linear_sites(before))
    old, new = sites_by_name(before, names), sites_by_name(after, names)
    deltas = {name: (new[name].weight() - old[name].weight()).float() for name in names}
    about = {"method": method.name, "damping": method.damping, "concepts": ["forget"]}
    return Edit((Term(1.0, Dense({n: d for n, d in deltas.items() if bool((d != 0).any())}, fingerprint, about)),))


def _is_attention(site: str) -> bool:
    return any("att" in part.lower() for part in site.split("."))


_KINDS: Mapping[str, Callable[[str], bool]] = {
    "all": lambda site: True,
    "attention": _is_attention,
    "mlp": lambda site: not _is_attention(site),
}
