"""The half with digits: methods × seeds × digits, and summaries over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import torch

from mnemotomy.core.progress import progress_bar
from mnemotomy_bench.generative.autoencoder import Subject
from mnemotomy_bench.generative.baselines import BASELINES, ORIGINAL, RETRAIN
from mnemotomy_bench.generative.cases import Case
from mnemotomy_bench.generative.digit_cells import Method, baseline_cell, extraction_cell, method_cell
from mnemotomy_bench.generative.erasing import ERASURES, Erasure
from mnemotomy_bench.generative.measure import damage, damage_of_all
from mnemotomy_bench.generative.records import Cell, DigitsRecord
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.lab.pool import Plan, Task
from mnemotomy_bench.lab.resources import single_threaded
from mnemotomy_bench.lab.seeds import over_seeds

METHODS: dict[str, Method] = {**BASELINES, **ERASURES}
TITLES = {ORIGINAL: "Original", RETRAIN: "Retrain"} | {name: method.title for name, method in METHODS.items()}
DAMAGE = ("own", "others", "own_rise", "others_rise", "worst_rise", "own_factor", "others_factor", "selectivity")
SIMILARITY = ("cka_own", "cka_others", "cka_retrained")
ALL = (
    "all_own_rise", "all_others_rise", "all_own_factor", "all_others_factor", "all_selectivity",
    "all_lowest_selectivity",
)  # fmt: skip
AVERAGED = (*DAMAGE, *SIMILARITY, *ALL, "seconds", "seconds_all")
"""The numbers of a record."""


def run_digits(
    out_dir: Path, case: Case, methods: Sequence[str] = tuple(TITLES), data: Path | None = None
) -> list[DigitsRecord]:
    """One record per method: means over the seeds with ``…_spread``, and what the figures show.

    Args:
        out_dir: for cells and models; finished results are reused.
        case: what is trained and erased.
        methods: names among ``TITLES``.
        data: the folder of data sets; ``MNEMOTOMY_DATA`` by default.

    Raises:
        DataError: the data is missing.
    """
    found: dict[str, list[Record]] = {name: [] for name in TITLES if name in methods}
    with single_threaded(), progress_bar(case.name, len(case.seeds) * len(found)) as advance:
        for seed in case.seeds:
            subject = Subject(case, seed, out_dir / "models", data)
            for name, seeds in found.items():
                seeds.append(_of_seed(out_dir, subject, name))
                advance(1, name)
    return [_record(case, name, seeds) for name, seeds in found.items()]


def digits_plan(out_dir: Path, case: Case, methods: Sequence[str], data: Path | None) -> Plan:
    """Tasks for processes, one per seed, so that ``run_digits`` finds everything cached."""
    yield [Task(run_digits, (out_dir, replace(case, seeds=(seed,)), methods, data)) for seed in case.seeds]


def _of_seed(out_dir: Path, subject: Subject, name: str) -> Record:
    """The numbers of one method on one seed; those of the cells that did not diverge."""
    baselines = baseline_cell(out_dir, subject)
    method, shared = METHODS.get(name), 0.0
    if method is None:
        cells = [baselines[name]]
    else:
        if isinstance(method, Erasure):
            shared = extraction_cell(out_dir, subject)["seconds"]
        cells = [method_cell(out_dir, subject, method, digit) for digit in method.digits(subject.case, subject.classes)]
    before = baselines[ORIGINAL]["by_class"]
    record: Record = {"seed": subject.seed, "cells": cells}
    whole = [cell for cell in cells if not cell["failed"]]
    for cell in whole:
        if cell["digit"] == subject.case.forget:
            numbers: Record = {**damage(before, cell["by_class"], cell["digit"])}
            shown = ("own", "others") if name == ORIGINAL else DAMAGE
            record |= {key: numbers[key] for key in shown} | {key: dict(cell)[key] for key in SIMILARITY}
            record["seconds"] = shared + cell["seconds"]
            record["seconds_all"] = subject.classes * record["seconds"]
    if len(whole) == subject.classes:
        record |= damage_of_all(before, whole)
        record["seconds_all"] = shared + sum(cell["seconds"] for cell in whole)
    return record


def _record(case: Case, name: str, seeds: Sequence[Record]) -> DigitsRecord:
    """The means over the seeds that have a number, and what was chosen and what failed on each."""
    record: Record = {"case": case.name, "method": name, "title": TITLES[name]}
    record["seeds"] = [one["seed"] for one in seeds]
    record |= over_seeds(seeds, AVERAGED)
    cells = [(one["seed"], cell) for one in seeds for cell in one["cells"]]
    record["by_class"] = _mean_rows([one["cells"] for one in seeds])
    record["digits"] = list(dict.fromkeys(cell["digit"] for _, cell in cells))
    record["chosen"] = [
        {"seed": seed, "digit": cell["digit"], **cell["config"]} for seed, cell in cells if cell.get("config")
    ]
    record["failed"] = [
        {"seed": seed, "digit": cell["digit"], "why": cell["failed"]} for seed, cell in cells if cell["failed"]
    ]
    method = METHODS.get(name)
    record["settings"] = asdict(case) | {"method": {} if method is None else method.config(case)}
    return cast(DigitsRecord, record)


def _mean_rows(seeds: Sequence[Sequence[Cell]]) -> list[list[float]]:
    """A row per digit forgotten: the error on each digit, the mean over the seeds; none if one of them failed."""
    rows = [[cell["by_class"] for cell in cells] for cells in seeds if not any(cell["failed"] for cell in cells)]
    return torch.tensor(rows).mean(0).tolist() if rows else []
