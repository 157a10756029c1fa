"""What a search found: the chosen edit, the reason, what speaks against it, and the record; for every kind of model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from typing import Any, Generic, Protocol

from torch import nn
from typing_extensions import TypeVar  # with a default, before Python 3.13

from mnemotomy.core.clock import Clock
from mnemotomy.core.errors import SurgeryWarning
from mnemotomy.core.keys import key
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import resolved
from mnemotomy.core.version import versions
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.cut import CUT
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.factored import FactoredConcept
from mnemotomy.engram.guards import row_concerns
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.sites import Selector
from mnemotomy.forget.options import ForgetOptions
from mnemotomy.forget.scores import Details, Measure, Scores, Words
from mnemotomy.forget.search import FORGOTTEN, LIMIT, Search, Tried, pareto
from mnemotomy.forget.workshop import Workshop

FORGET, RETAIN = "forget", "reference"

NOTHING = 0.25
"""Where at least this share of what was known of the forget set is left, little was forgotten."""


class Asked(Protocol):
    """A request to forget, of either kind of model.

    Attributes:
        model: it stays as it is.
        forget, retain: for the moments.
        checks: kept apart from the retain set.
        notes: what was added or left out, for the record.
        words: how results are told.
    """

    @property
    def model(self) -> nn.Module: ...
    @property
    def forget(self) -> Any: ...
    @property
    def retain(self) -> Any: ...
    @property
    def checks(self) -> Any: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def words(self) -> Words: ...


R = TypeVar("R", bound=Asked, default=Any)


@dataclass(frozen=True)
class Found(Generic[R]):
    """What a search found.

    Attributes:
        edit: the chosen one; ``found.edit.apply(model)`` gives the model that has forgotten.
        chosen: its candidate and scores.
        before: the unedited model's scores.
        tried: all candidates, in their order.
        concerns: what speaks against the result, in words; empty if nothing does.
        request: what went into it.
        options: how it was searched.
        settings: the same for the record, as JSON values.
        seconds: by phase.
        counts: rows in the moments (tokens, for a language model), by set.
        details: what else the chosen edit does, for the record.
        cautions: what of it the user should know, in words; they do not keep the result from being saved.
    """

    edit: Edit
    chosen: Tried
    before: Scores
    tried: Sequence[Tried]
    concerns: Sequence[str]
    request: R
    options: ForgetOptions
    settings: Mapping[str, Any]
    seconds: dict[str, float]
    counts: dict[str, int]
    workshop: Workshop = field(repr=False)
    judge: Measure = field(repr=False)
    details: Mapping[str, Any] = field(default_factory=dict)
    cautions: Sequence[str] = ()

    @property
    def pareto(self) -> list[Tried]:
        """The candidates that no other beats in forgetting, in what is kept, and in KL at once."""
        return pareto(self.tried, self.before)

    @property
    def reason(self) -> str:
        """Why the chosen candidate was chosen."""
        work = sum(one.works(self.before) for one in self.tried)
        limits = (
            f"at most {100 * FORGOTTEN:.0f} % of what was known left or too far, and at most {100 * LIMIT:.0f} points "
            f"of {self.request.words.hits} lost"
        )
        if len(self.tried) == 1:
            return f"the only candidate tried; it {'stays' if work else 'does not stay'} within the limits, {limits}"
        if not work:
            scores, near = self.chosen.scores, ""
            if scores is not None and not self.concerns:
                lost = 100 * (self.before.hits - scores.hits)
                near = (
                    f"; it misses them by little, so the audit has to decide: {scores.said()}, {lost:.1f} points lost"
                )
            return f"the highest score; none of {len(self.tried)} candidates stays within the limits, {limits}{near}"
        if work == 1:
            return f"the only one of {len(self.tried)} candidates within the limits, {limits}"
        return f"the highest score of the {work} candidates (of {len(self.tried)}) within the limits, {limits}"

    def choose(self, tried: Tried) -> Found[R]:
        """The same with another candidate chosen."""
        edit, own = self.workshop.edit(tried.candidate), _concerns(self.chosen, self.before, self.request.words)
        few = [one for one in self.concerns if one not in own]  # of the moments, whatever is chosen
        concerns = [*few, *_concerns(tried, self.before, self.request.words)]
        told, cautions = self.judge.details(edit)
        return replace(self, chosen=tried, edit=edit, concerns=concerns, details=told, cautions=cautions)

    def _told(self, one: Tried) -> dict[str, Any]:
        scores = None if one.scores is None else one.scores.row()
        return {"number": one.number, "candidate": self.workshop.about(one.candidate), "scores": scores}

    @property
    def record(self) -> dict[str, Any]:
        """Everything needed to repeat the search, and what it showed."""
        request = self.request
        return {
            "kind": "forget",
            "of": request.words.of,
            "chosen": self.workshop.about(self.chosen.candidate),
            "reason": self.reason,
            "scores": {
                "before": self.before.row(),
                "after": None if self.chosen.scores is None else self.chosen.scores.row(),
            },
            **self.details,
            "pareto": [self._told(one) for one in self.pareto],
            "tried": [self._told(one) for one in self.tried],
            "concerns": list(self.concerns),
            "cautions": list(self.cautions),
            "counts": {
                "examples": {
                    FORGET: len(request.forget), RETAIN: len(request.retain), "kept apart": len(request.checks),
                },
                "tokens": self.counts,
            },
            "notes": list(request.notes),
            "settings": dict(self.settings),
            "edit": self.edit.describe(),
            "versions": versions() | {"optuna": _optuna()},
            "seconds": self.seconds,
        }  # fmt: skip


def search(
    request: R,
    moments: Moments,
    measure: Callable[[], Measure],
    workshop: Callable[[FactoredConcept], Workshop],
    options: ForgetOptions,
    settings: Mapping[str, Any],
    clock: Clock,
    *,
    depends: Mapping[str, str],
    concerns: Sequence[str] = (),
) -> Found[R]:
    """Search among the edits of one concept, and choose.

    Args:
        request: what goes into it.
        moments: of ``FORGET`` and ``RETAIN``.
        measure, workshop: made once the moments are decomposed.
        options: how to search.
        settings: the same for the record, as JSON values.
        clock: has run since the request.
        depends: hashes of the model and of the sets.
        concerns: of the sets, for ``found.concerns``; the user has been warned of them.

    Warns:
        SurgeryWarning: few rows, little forgotten, or too much lost; ``found.concerns`` and ``found.cautions`` have the
            same.
    """
    counts = {name: max(moments.count(site, name) for site in moments.readers) for name in moments.concepts}
    few = row_concerns(moments, [FORGET])
    for concern in few:
        warnings.warn(concern, SurgeryWarning, stacklevel=4)
    clock.lap("collect")
    atlas = Atlas(request.model, moments, options.cut, keep=1)
    factored = FactoredConcept(atlas, FORGET, progress=options.progress)
    judge, made = measure(), workshop(factored)
    tried = Search(
        judge,
        made,
        options.trials,
        seed=options.seed,
        storage=options.study,
        depends={**depends, **_setting_hashes(request.model, options)},
        progress=options.progress,
    ).run()
    clock.lap("search")
    chosen = max(tried, key=lambda one: one.rank(judge.before))
    concerns = [*concerns, *few, *(own := _concerns(chosen, judge.before, request.words))]
    edit = made.edit(chosen.candidate)
    made.release()
    told, cautions = Details({}) if chosen.scores is None else judge.details(edit)
    for warning in (*own, *cautions):
        warnings.warn(warning, SurgeryWarning, stacklevel=4)
    return Found(
        edit, chosen, judge.before, tried, concerns, request, options, settings, clock.seconds, counts, made,
        judge, told, cautions,
    )  # fmt: skip


def settings_of(options: ForgetOptions, sites: Selector, **more: Any) -> dict[str, Any]:
    """The settings of a search for its record, as JSON values."""
    return {
        "trials": options.trials,
        "sites": sites if isinstance(sites, str) else list(sites),
        "layers": options.layers,
        **more,
        "cut": CUT.describe(options.cut),
        "seed": options.seed,
    }


def _concerns(chosen: Tried, before: Scores, words: Words) -> list[str]:
    """What speaks against a choice."""
    if chosen.scores is None:
        return ["every candidate breaks the model; give more to retain"]
    after, found = chosen.scores, []
    lost = before.hits - after.hits
    if lost > LIMIT:
        found.append(
            f"{words.hits} went from {100 * before.hits:.0f} to {100 * after.hits:.0f} %: what is to be forgotten "
            f"shares too much with the rest; {words.retain}, or try more trials"
        )
    if after.left > NOTHING:
        found.append(
            f"the forgotten answers are less likely now than answers to other questions, by {100 * after.beyond:.0f} % "
            "of what was known, and an attacker can read that: this is too much forgetting; try more trials"
            if after.beyond
            else f"{100 * after.left:.0f} % of what was known of the forget set is left, read in the way that finds "
            f"most (the mean probability over all ways went from {before.known:.2f} to {after.known:.2f}); "
            f"{words.forget}, or try more trials"
        )
    return found


def _setting_hashes(model: nn.Module, options: ForgetOptions) -> dict[str, str]:
    """Hashes of the settings that a trial's numbers depend on, and of the code."""
    settings = {name: value for name, value in asdict(options).items() if name not in ("trials", "study", "progress")}
    settings["precision"] = resolved(options.precision, device_of(model))
    code = [one for one in resources.files("mnemotomy.forget").iterdir() if one.name.endswith(".py")]
    return {
        "settings": key(repr(sorted(settings.items(), key=str))),
        "version": key(versions(), _optuna(), {one.name: one.read_text(encoding="utf-8") for one in code}),
    }


def _optuna() -> str:
    import optuna

    return str(optuna.__version__)
