"""What the reference is made of: neighbours, the model's own texts, and how many of them."""

from __future__ import annotations

import functools
from dataclasses import replace

from mnemotomy.forget.candidates import FIRST
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.real.run import RealRun
from mnemotomy_bench.real.surgery import ATTENTION_SITES, Surgery
from mnemotomy_bench.real.world import Task, tasks

REFERENCES = {
    "neighbours and own texts": (1.0, 1.0),
    "neighbours alone": (1.0, 0.0),
    "own texts alone": (0.0, 1.0),
    "a quarter of both": (0.25, 0.25),
    "a quarter of the neighbours, all own texts": (0.25, 1.0),
    "all neighbours, a quarter of the own texts": (1.0, 0.25),
}
"""The share of the seen cities, and of the texts."""


def references(run: RealRun, seed: int) -> list[Record]:
    """The first candidate of ``forget`` on one country, by reference."""
    task = tasks(run.known, seed)["country"]
    found = []
    for name, (neighbours, texts) in REFERENCES.items():
        surgery = _surgery(run, task, neighbours, texts, seed)
        row = run.measured(task, {"reference": name, "seed": seed}, functools.partial(_state, run, surgery, task))
        found.append({"request": f"{task.name}, by reference", "edit": name, **row})
    return found


def _state(run: RealRun, surgery: Surgery, task: Task) -> Record:
    with surgery.workshop(surgery.tasks[0]).edit(FIRST[0]).on(run.loaded[0], check=False):
        return run.numbers(task)


def _surgery(run: RealRun, task: Task, neighbours: float, texts: float, seed: int) -> Surgery:
    less = replace(task, seen=task.seen[: round(neighbours * len(task.seen))])
    own = run.own_texts[: round(texts * len(run.own_texts))]
    return Surgery(*run.loaded, [less], own, seed, ATTENTION_SITES)
