"""What an edit costs from the texts on: collect, factorise, apply."""

from __future__ import annotations

import functools
import time

import torch

from mnemotomy.engram.sites import Selector, select_sites
from mnemotomy.forget.candidates import FIRST, Candidate, first_of
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.lab.flops import counted_flops
from mnemotomy_bench.lab.resources import measured
from mnemotomy_bench.real.run import RealRun
from mnemotomy_bench.real.surgery import ATTENTION_SITES, Surgery
from mnemotomy_bench.real.world import tasks

COSTED: dict[str, tuple[Selector, Candidate]] = {
    "attention, upper third": (ATTENTION_SITES, FIRST[0]),
    "attention": (ATTENTION_SITES, Candidate("paper", 0.0, kinds="attention", blocks="all")),
    "all projections": ("all-linear", Candidate("paper", 0.0, blocks="all")),
}
"""With outputs; without them, ``FactoredConcept`` costs the same."""


def costs(run: RealRun, seed: int) -> list[Record]:
    """Processor seconds, operations, and the rise of memory for one country."""
    found = []
    for name, (sites, candidate) in COSTED.items():
        what = {"cost": candidate.recipe(), "seed": seed}
        row = run.cell(what, functools.partial(_cost, run, seed, sites, candidate))
        found.append({"request": "what one country costs", "edit": name, **row})
    return found


def _cost(run: RealRun, seed: int, sites: Selector, candidate: Candidate) -> Record:
    (model, tokenizer), task = run.loaded, tasks(run.known, seed)["country"]
    layers = sorted({site.layer for site in select_sites(model, sites).values() if site.layer is not None})
    surgery = Surgery(
        model, tokenizer, [task], run.own_texts, seed, sites, layers[first_of(len(layers), candidate.blocks) :]
    )

    def job() -> None:
        with surgery.workshop(task).edit(candidate).on(model, check=False):
            pass

    with measured(torch.device("cpu")) as usage:
        start = time.process_time()
        operations = counted_flops(job)
        seconds = time.process_time() - start
    return {"seconds": seconds, "operations": operations, "peak_bytes": usage.peak_bytes}
