"""What the bench of pretrained models runs, in its order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.real.costs import costs
from mnemotomy_bench.real.references import references
from mnemotomy_bench.real.run import RealRun
from mnemotomy_bench.real.sequence import sequence

PLAN: Sequence[tuple[str, Sequence[int]]] = (
    ("country", (0, 1, 2)),
    ("city", (0, 1, 2)),
    ("fifteen", (0,)),
    ("relation", (0,)),
    ("sequence", (0,)),
    ("references", (0,)),
    ("costs", (0,)),
)
"""Requests, and what is made of them, with seeds."""

_MADE: Mapping[str, Callable[[RealRun, int], list[Record]]] = {
    "sequence": sequence,
    "references": references,
    "costs": costs,
}


def records(run: RealRun, name: str, seed: int) -> list[Record]:
    """The records of one entry of the plan."""
    made = _MADE.get(name)
    found = made(run, seed) if made else list(run.rows(name, seed))
    return [{"model": Path(run.model).name, "table": name, "seed": seed} | record for record in found]
