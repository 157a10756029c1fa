"""Ten requests one after the other, as they come in practice."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from mnemotomy.forget.candidates import FIRST
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.real.measure import numbers
from mnemotomy_bench.real.run import RealRun
from mnemotomy_bench.real.surgery import ATTENTION_SITES, Surgery
from mnemotomy_bench.real.world import Task, tasks

COUNT = 10
MEASURED = (1, 5, 10)
"""After so many requests."""


def sequence(run: RealRun, seed: int) -> list[Record]:
    """The first candidate of ``forget``, city by city.

    ``collected again each time`` collects on the model as the last request left it; ``summed`` adds the ten edits that
    the first model's moments give; ``all at once`` is one edit of the ten together.
    """
    found = []
    for way, make in WAYS.items():
        what = {"sequence": way, "seed": seed, "texts": list(run.texts)}
        rows = run.cell(what, functools.partial(_rows, make, run, seed))["rows"]
        found += [{"request": f"{COUNT} requests, one city each", "edit": way, **row} for row in rows]
    return found


def _requests(run: RealRun, seed: int) -> list[Task]:
    """Ten of the fifteen cities, one by one; the fifteen are never in the reference."""
    fifteen = tasks(run.known, seed)["fifteen"]
    ten = fifteen.target[:COUNT]
    return [replace(fifteen, name=f"{one.subject}, request {place}", target=(one,)) for place, one in enumerate(ten, 1)]


def _so_far(requests: list[Task], count: int) -> Task:
    return replace(requests[0], target=tuple(one.target[0] for one in requests[:count]))


def _again(run: RealRun, seed: int) -> Iterator[Record]:
    model, tokenizer = run.loaded
    model, requests = copy.deepcopy(model), _requests(run, seed)
    for count, task in enumerate(requests, 1):
        surgery = Surgery(model, tokenizer, [task], run.own_texts, seed, ATTENTION_SITES)
        surgery.workshop(task).edit(FIRST[0]).apply_(model)
        if count in MEASURED:
            yield {"requests": count, **numbers(model, tokenizer, _so_far(requests, count), run.texts)}


def _summed(run: RealRun, seed: int) -> Iterator[Record]:
    (model, tokenizer), requests = run.loaded, _requests(run, seed)
    surgery = Surgery(model, tokenizer, requests, run.own_texts, seed, ATTENTION_SITES)
    edit: Any = None
    for count, task in enumerate(requests, 1):
        one = surgery.workshop(task).edit(FIRST[0])
        edit = one if edit is None else edit + one
        if count in MEASURED:
            with edit.on(model, check=False):
                yield {"requests": count, **numbers(model, tokenizer, _so_far(requests, count), run.texts)}


def _together(run: RealRun, seed: int) -> Iterator[Record]:
    (model, tokenizer), task = run.loaded, _so_far(_requests(run, seed), COUNT)
    surgery = Surgery(model, tokenizer, [task], run.own_texts, seed, ATTENTION_SITES)
    with surgery.workshop(task).edit(FIRST[0]).on(model, check=False):
        yield {"requests": COUNT, **numbers(model, tokenizer, task, run.texts)}


WAYS: Mapping[str, Callable[[RealRun, int], Iterator[Record]]] = {
    "collected again each time": _again,
    "summed, from the first model": _summed,
    "all at once": _together,
}


def _rows(make: Callable[[RealRun, int], Iterator[Record]], run: RealRun, seed: int) -> Record:
    return {"rows": list(make(run, seed))}
