"""The runs of the class-wise bench: cases × methods × seeds, each cell cached by its content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.progress import progress_bar
from mnemotomy.methods.classifiers.problem import ClassifierMethod
from mnemotomy_bench.classwise.analyses import Analyses, analyse
from mnemotomy_bench.classwise.cases import Case, cases
from mnemotomy_bench.classwise.cells import baseline_cell, best_place, flops_cell, method_cell
from mnemotomy_bench.classwise.grids import ORIGINAL, RETRAIN, Row
from mnemotomy_bench.classwise.parallel import Place, case_plan
from mnemotomy_bench.classwise.records import CaseRecord, Cell
from mnemotomy_bench.classwise.subject import Subject, threads
from mnemotomy_bench.classwise.summary import summary
from mnemotomy_bench.lab.pool import Workers

BASELINES = {ORIGINAL: "Original", RETRAIN: "Retrain"}


def run_classwise(
    out_dir: Path,
    *,
    scale: str = "small",
    seeds: Sequence[int] | None = None,
    only: Sequence[str] = (),
    data: Path | None = None,
) -> list[CaseRecord]:
    """One record per case and method: means over the seeds, ``…_spread`` and ``…_gap`` (to the retrained models).

    The configuration of a method is searched on the first seed and run on all of them (Appendix B.4.1).

    Args:
        out_dir: for cells and models; finished results are reused.
        scale: ``tiny``, ``small`` or ``paper``.
        seeds: override those of the scale.
        only: names of cases, of methods, or of both; all by default.
        data: the folder of data sets; ``MNEMOTOMY_DATA`` by default.

    Raises:
        ConfigurationError: there is no such case or method.
        DataError: the data is missing.
    """
    records: list[CaseRecord] = []
    for case in chosen_cases(scale, seeds, only, data):
        if case.matrices_only:
            continue
        rows = chosen_rows(case, only)
        shown = [name for name in (*BASELINES, *rows) if name in only] or [*BASELINES, *rows]
        records += run_case(out_dir, case, rows, shown, data)
    return records


def fill(
    out_dir: Path,
    *,
    jobs: int,
    scale: str = "small",
    seeds: Sequence[int] | None = None,
    only: Sequence[str] = (),
    data: Path | None = None,
    figures: bool = True,
) -> None:
    """Compute in processes what ``run_classwise`` and ``run_analyses`` need; they then find it in ``out_dir``.

    Arguments and errors as for them.

    Args:
        jobs: processes at once; timings then include contention.
        figures: whether to measure what the figures show too.
    """
    plans = [
        case_plan(Place(case, out_dir, data), chosen_rows(case, only), figures=figures)
        for case in chosen_cases(scale, seeds, only, data)
    ]
    with Workers(jobs) as workers:
        workers.carry_out("class-wise", plans)


def chosen_rows(case: Case, only: Sequence[str]) -> dict[str, Row]:
    """The methods of the case's table that ``only`` names, by default all; none if there is no table."""
    rows = {} if case.matrices_only else case.grid.rows()
    named = [name for name in (*BASELINES, *rows) if name in only]
    return {name: row for name, row in rows.items() if not named or name in named}


def run_case(
    out_dir: Path, case: Case, rows: Mapping[str, Row], shown: Sequence[str], data: Path | None = None
) -> list[CaseRecord]:
    """The records of one case; the baselines are always measured, because gaps refer to them."""
    found: dict[str, list[Cell]] = {name: [] for name in (*BASELINES, *rows)}
    best: dict[str, ClassifierMethod] = {}
    searched: dict[str, list[Cell]] = {}
    flops: dict[str, int] = {}
    runs = sum(len(row.methods) for row in rows.values()) + len(case.seeds) * len(found)
    with threads(case), progress_bar(case.name, runs) as advance:
        for seed in case.seeds:
            subject = Subject(case, seed, out_dir / "models", data)
            for name in BASELINES:
                found[name].append(baseline_cell(out_dir, subject, name))
                advance(1, name)
            for name, row in rows.items():
                if name not in searched:
                    searched[name] = [method_cell(out_dir, subject, method) for method in row.methods]
                    best[name] = row.methods[best_place(searched[name])]
                    flops[name] = flops_cell(out_dir, subject, best[name])
                    advance(len(row.methods), name)
                found[name].append(method_cell(out_dir, subject, best[name]))
                advance(1, name)
    return [
        _record(case, name, rows.get(name), cells, searched.get(name, []), found[RETRAIN], flops.get(name))
        for name, cells in found.items()
        if name in shown
    ]


def run_analyses(
    out_dir: Path,
    records: Sequence[CaseRecord],
    *,
    scale: str,
    seeds: Sequence[int] | None = None,
    only: Sequence[str] = (),
    data: Path | None = None,
) -> dict[str, Analyses]:
    """By case, what the figures show: matrices, groups, subsets, degradation, sufficiency, spectra and cost.

    Arguments as for ``run_classwise``; the cost is computed from its ``records``.
    """
    found = {}
    for case in chosen_cases(scale, seeds, only, data):
        with threads(case):
            subjects = (Subject(case, seed, out_dir / "models", data) for seed in case.seeds)
            found[case.name] = analyse(out_dir, subjects, [one for one in records if one["case"] == case.name])
    return found


def chosen_cases(scale: str, seeds: Sequence[int] | None, only: Sequence[str], data: Path | None) -> tuple[Case, ...]:
    """The cases of the scale that ``only`` names, by default all.

    Raises:
        ConfigurationError: a name is neither a case nor a method.
    """
    there = cases(scale, seeds, data)
    known = [*there, *BASELINES, *dict.fromkeys(name for case in there.values() for name in case.grid.rows())]
    for name in only:
        if name not in known:
            raise ConfigurationError(f"there is no case or method {name!r}; choose among {', '.join(known)}")
    return tuple(case for name, case in there.items() if name in only) or tuple(there.values())


def _record(
    case: Case,
    name: str,
    row: Row | None,
    cells: Sequence[Cell],
    searched: Sequence[Cell],
    retrained: Sequence[Cell],
    flops: int | None,
) -> CaseRecord:
    found = {
        "case": case.name,
        "method": name,
        "title": BASELINES[name] if row is None else row.title,
        **summary(case, cells, retrained),
        "selection": "none" if row is None else row.selection,
        "searched": len(searched),
        "failed": [{"config": cell["config"], "why": cell["failed"]} for cell in searched if cell["failed"]],
    }
    return cast(CaseRecord, found if flops is None else found | {"flops": flops})
