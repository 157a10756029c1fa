"""Questions with several true answers: each counts once, whatever the number of its lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from mnemotomy.audit.base import Case
from mnemotomy.audit.choosing import log_probabilities
from mnemotomy.text.probes import Probe

_SETS = ("forget", "retain", "holdout")


def merged(probes: Iterable[Probe]) -> list[Probe]:
    """One probe for each question, with the answers and the paraphrases of all of its lines, in their order."""
    found: dict[Any, Probe] = {}
    for one in probes:
        key = (one.question, one.template)
        first = found.setdefault(key, one)
        answers = dict.fromkeys([*first.answers, *one.answers])
        phrasings = tuple(dict.fromkeys([*first.paraphrases, *one.paraphrases]))
        found[key] = replace(first, also=tuple(answers)[1:], paraphrases=phrasings)
    return list(found.values())


def likeliest(case: Case, before: nn.Module) -> dict[str, list[int]]:
    """For each set of a case, which answer to each question with several the model before finds likeliest per token."""
    found = {}
    for name in _SETS:
        several = [one for one in getattr(case, name) if one.also]
        pairs = [(each, each.answer) for one in several for each in one.each]
        scores = iter(log_probabilities(before, case, pairs) if pairs else ())
        rows = [[next(scores) for _ in one.answers] for one in several]
        found[name] = [row.index(max(row)) for row in rows]
    return found


def with_first(case: Case, places: Mapping[str, Sequence[int]]) -> Case:
    """The case with these answers as the ones to look for."""
    sets: dict[str, Any] = {}
    for name in _SETS:
        chosen = iter(places[name])
        sets[name] = [_first(one, next(chosen)) if one.also else one for one in getattr(case, name)]
    return replace(case, **sets)


def note(sets: Mapping[str, Sequence[Probe]]) -> list[str]:
    """That questions have several answers and how they count, in a sentence; none if there are no such questions."""
    counts = {name: sum(bool(one.also) for one in probes) for name, probes in sets.items()}
    told = [f"{count} in the {name} set" for name, count in counts.items() if count]
    if not told:
        return []
    return [
        f"Questions with several answers: {', '.join(told)}. Each counts as one question. Where the model writes, any "
        "of its answers counts; all other attacks look for the one that the model before found likeliest."
    ]


def _first(probe: Probe, place: int) -> Probe:
    others = [answer for number, answer in enumerate(probe.answers) if number != place]
    return replace(probe, answer=probe.answers[place], also=tuple(others))
