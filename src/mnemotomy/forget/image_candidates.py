"""Candidate edits of a classifier: filters of μ with a strength of their own for the head, automatic, two-sided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnemotomy.data.examples import Examples
from mnemotomy.engram.deltas import Dense, Term
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.factored import FactoredConcept
from mnemotomy.engram.recalibrate import absorbed, recalibrated
from mnemotomy.forget.candidates import METHODS, Candidate, first_of
from mnemotomy.forget.workshop import Workshop
from mnemotomy.methods.classifiers.classifier import accuracy, head_of
from mnemotomy.methods.classifiers.curvature import factored_sites
from mnemotomy.methods.classifiers.engram import inputs_of
from mnemotomy.methods.classifiers.engram_automatic import ClassifierEngramAutomatic
from mnemotomy.methods.classifiers.problem import Problem
from mnemotomy.methods.classifiers.two_sided import ClassifierTwoSided

if TYPE_CHECKING:
    from optuna.trial import Trial

READ = 500
"""The most images of each set that ``automatic`` and the two-sided edit read."""

RECALIBRATED = 512
"""Images to read the statistics of batch normalisation from."""

_BATCH = 128


def first(share: float) -> tuple[Candidate, ...]:
    """What to try first, where the forget set is ``share`` of all images.

    What the classes share has a μ of ``share``; thresholds are on the way from there to 1.
    """

    def at(excess: float) -> float:
        return round(share + excess * (1.0 - share), 3)

    return (
        Candidate("automatic", 0.0),
        Candidate("paper", 0.0, strength=0.5, blocks="all", head=2.0),
        Candidate("projector", at(0.3), strength=1.0, blocks="all", head=1.4),
        Candidate("two-sided", 0.05),
        Candidate("paper", 0.0, outputs=False, strength=1.0, blocks="all", head=1.0),
        Candidate("projector", at(0.3), outputs=False, strength=1.5, blocks="upper third", head=1.5),
        Candidate("projector", at(0.5), strength=1.4, blocks="all", head=2.0),
        Candidate("projector", at(0.3), outputs=False, strength=1.0, blocks="upper third", head=1.0),
        Candidate("projector", at(0.3), outputs=False, strength=1.2, blocks="upper third", head=1.2),
        Candidate("steep", 3.0, outputs=False, strength=1.0, blocks="all", head=1.0),
        Candidate("weight-norm", 0.0, outputs=False, strength=1.5, blocks="all", head=1.5),
    )


def recalibration_cost(problem: Problem) -> float:
    """The accuracy on retained images that the unedited model loses if its batch normalisation follows these images.

    Where they are unlike those of training, such as small images that were enlarged, it is most of it.
    """
    few = _few(problem)
    before = accuracy(problem.model, few)
    with recalibrated(problem.model, inputs_of(few, _BATCH)):
        return before - accuracy(problem.model, few)


def _few(problem: Problem) -> Examples:
    """Retained images in a random order: a batch of one class has not the variance between classes."""
    return problem.retain.drawn(RECALIBRATED, problem.seed)


class ImageWorkshop(Workshop):
    """The candidates for a classifier; batch normalisation follows the edited layers, as scale and shift of the edit.

    Args:
        factored: the forget set's engrams.
        problem: the sets of the moments.
        two_sided: whether to try the two-sided edit.
        recalibrate: whether batch normalisation follows at all; ``automatic`` cannot do without.
    """

    strengths = (0.2, 2.0)

    def __init__(
        self, factored: FactoredConcept, problem: Problem, *, two_sided: bool, recalibrate: bool = True
    ) -> None:
        super().__init__(factored, problem)
        self.recalibrate = recalibrate
        factored.decompose(factored.names)  # nearly all candidates edit every layer
        head, sites = head_of(problem.model, problem.forget), factored.sites
        self.head = next((name for name, site in sites.items() if site.module is head), None)
        self.layers = [site for site in factored.names if site != self.head]
        self.share = len(problem.forget) / (len(problem.forget) + len(problem.retain))
        self.methods = (*(("automatic",) if self.head and recalibrate else ()), *(("two-sided",) if two_sided else ()))
        self.thresholds = {"projector": (round(self.share, 3), 0.95), "steep": (1.5, 8.0), "two-sided": (0.01, 0.2)}
        self.first = tuple(one for one in first(self.share) if one.form not in METHODS or one.form in self.methods)

    def suggest_own(self, trial: Trial) -> dict[str, Any]:
        return {"head": round(trial.suggest_float("head", 0.0, 4.0), 2)}

    def by_filter(self, candidate: Candidate) -> Edit:
        layers = self.layers[first_of(len(self.layers), candidate.blocks) :]
        strengths = dict.fromkeys(layers, candidate.strength)
        if self.head is not None:
            strengths[self.head] = candidate.strength if candidate.head is None else candidate.head
        return self._recalibrated(self.filtered(candidate, strengths))

    def by_method(self, candidate: Candidate) -> Edit:
        model = self.problem.model
        if candidate.form == "automatic":
            method = ClassifierEngramAutomatic(read=READ)
            return self._recalibrated(method.choose_edit(self.problem, model, self.factored)[1])
        two_sided = ClassifierTwoSided(damping=candidate.threshold, read=READ, repairing=READ)
        return self.made_by(two_sided, factored_sites(model))

    def _recalibrated(self, edit: Edit) -> Edit:
        """The edit with what recalibration on the retain set adds to it."""
        if not self.recalibrate:
            return edit
        model = self.problem.model
        with edit.on(model, check=False):
            found = absorbed(model, inputs_of(_few(self.problem), _BATCH))
        if not found:
            return edit
        return edit + Edit((Term(1.0, Dense(found, edit.fingerprint, {"method": "recalibration"})),))
