"""What the figures show besides the table, from the original models; cached in parts, some on the first seed only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mnemotomy.engram.recalibrate import has_batch_norm
from mnemotomy.methods.classifiers.two_sided import ClassifierTwoSided
from mnemotomy_bench.classwise.cases import Case
from mnemotomy_bench.classwise.cells import cached
from mnemotomy_bench.classwise.class_engrams import Anatomy
from mnemotomy_bench.classwise.cost import Extraction, cost, extraction
from mnemotomy_bench.classwise.degradation import degradation
from mnemotomy_bench.classwise.matrices import (
    automatic_matrix,
    every_subset,
    every_subset_recalibrated,
    grouped,
    matrices,
    two_sided_matrix,
)
from mnemotomy_bench.classwise.records import CaseRecord
from mnemotomy_bench.classwise.spectrum import spectra
from mnemotomy_bench.classwise.subject import Subject
from mnemotomy_bench.classwise.sufficiency import sufficiency
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.lab.seeds import over_seeds

Analyses = dict[str, Any]


def analyse(out_dir: Path, subjects: Iterable[Subject], records: Sequence[CaseRecord]) -> Analyses:
    """Matrices, degradation, sufficiency and cost of every seed; groups, subsets and spectra of the first.

    Without a table: nothing that needs the retrained model, and no subsets.

    Args:
        out_dir: for the parts; finished results are reused.
        subjects: of one case, one per seed, made one by one.
        records: of the table of this case.
    """
    seeds: list[Record] = []
    first: Record = {}
    for subject in subjects:
        anatomy = Anatomy(subject)
        seeds.append(of_seed(out_dir, anatomy))
        first = first or of_first(out_dir, anatomy)
    costs = {"cost": cost(_mean_extraction(seeds), records)} if "extraction" in seeds[0] else {}
    return {"seeds": seeds, **first, **erasure(seeds), **costs}


def of_seed(out_dir: Path, anatomy: Anatomy) -> Record:
    """Matrices and degradation of one seed; extraction and sufficiency if the case has a table."""
    erased = _erased(out_dir, anatomy)
    drops = _part(out_dir, anatomy, "degradation", degradation, erased["before"], erased["matrices"])
    _join(erased, _two_sided(out_dir, anatomy))
    found: Record = {"seed": anatomy.subject.seed, "matrices": erased, "degradation": drops}
    return found if anatomy.subject.case.matrices_only else found | _injected(out_dir, anatomy)


def of_first(out_dir: Path, anatomy: Anatomy) -> Record:
    """Groups and spectra; subsets if the case has a table. One seed is enough to show them."""
    found = {"groups": _groups(out_dir, anatomy), "spectra": _spectra(out_dir, anatomy)}
    if not anatomy.subject.case.matrices_only:
        found["subsets"] = _subsets(out_dir, anatomy)
        found["subsets"]["sizes"] |= _recalibrated_subsets(out_dir, anatomy)["sizes"]
    return found


Part = Callable[[Path, Anatomy], Record]


def independent(case: Case, *, first: bool) -> tuple[Part, ...]:
    """The independent parts of one seed, for processes to share: most of ``of_seed`` and ``of_first``."""
    parts: tuple[Part, ...] = (_erased, _two_sided) if case.matrices_only else (_erased, _two_sided, _injected)
    if not first:
        return parts
    return (*parts, _spectra) if case.matrices_only else (*parts, _recalibrated_subsets, _spectra)


def dependent(case: Case, *, first: bool) -> tuple[Part, ...]:
    """The other parts of one seed, which need those of ``independent``."""
    if not first:
        return (of_seed,)
    return (_groups, of_seed) if case.matrices_only else (_subsets, _groups, of_seed)


def _groups(out_dir: Path, anatomy: Anatomy) -> Record:
    ours = asdict(anatomy.subject.case.grid.automatic)
    found: Record = _part(out_dir, anatomy, "groups", grouped, _erased(out_dir, anatomy)["strengths"], ours)
    return found


def _subsets(out_dir: Path, anatomy: Anatomy) -> Record:
    found: Record = _part(out_dir, anatomy, "subsets", every_subset, _erased(out_dir, anatomy)["strengths"])
    return found


def _two_sided(out_dir: Path, anatomy: Anatomy) -> Record:
    found: Record = _part(out_dir, anatomy, "two-sided", two_sided_matrix, asdict(ClassifierTwoSided()))
    return found


def _injected(out_dir: Path, anatomy: Anatomy) -> Record:
    """What all engrams cost, and what they do in a network that knows nothing."""
    found = {
        "extraction": _part(out_dir, anatomy, "extraction of all classes", extraction),
        "sufficiency": _part(out_dir, anatomy, "sufficiency", sufficiency),
    }
    if has_batch_norm(anatomy.model):
        found["sufficiency, recalibrated"] = _part(out_dir, anatomy, "sufficiency, recalibrated", sufficiency, True)
    return found


def _spectra(out_dir: Path, anatomy: Anatomy) -> Record:
    found: Record = _part(out_dir, anatomy, "spectra", spectra)
    return found


def _recalibrated_subsets(out_dir: Path, anatomy: Anatomy) -> Record:
    found: Record = _part(out_dir, anatomy, "subsets, recalibrated", every_subset_recalibrated)
    return found


def _erased(out_dir: Path, anatomy: Anatomy) -> Record:
    """Each class erased alone, by the paper's estimator and by ours."""
    erased: Record = _part(out_dir, anatomy, "matrices", matrices)
    ours = asdict(anatomy.subject.case.grid.automatic)
    _join(erased, _part(out_dir, anatomy, "automatic", automatic_matrix, ours))
    return erased


def _join(erased: Record, more: Record) -> None:
    for key in ("matrices", "summary"):
        erased[key] = erased[key] | more[key]


def erasure(seeds: Sequence[Record]) -> Record:
    """``erasure``: what erased classes keep and others lose, mean and spread over seeds, by matrix."""
    found: Record = {}
    for title, numbers in seeds[0]["matrices"]["summary"].items():
        cells = [seed["matrices"]["summary"][title] for seed in seeds]
        found[title] = {"seeds": len(seeds), **over_seeds(cells, numbers)}
    return {"erasure": found}


def _part(out_dir: Path, anatomy: Anatomy, name: str, run: Callable[..., Any], *arguments: Any) -> Any:
    subject = anatomy.subject
    what = {
        "analysis": name,
        "superclasses": {key: list(members) for key, members in subject.superclasses.items()},
        "arguments": list(arguments),
        "collected": [subject.case.grid.collected, subject.case.grid.fields_read],
    }
    return cached(out_dir, subject, what, lambda: {"found": run(anatomy, *arguments)})["found"]


def _mean_extraction(seeds: Sequence[Record]) -> Extraction:
    parts: list[Extraction] = [seed["extraction"] for seed in seeds]
    seconds = sum(part["seconds"] for part in parts) / len(parts)
    collecting = sum(part["collecting_seconds"] for part in parts) / len(parts)
    return {**parts[0], "seconds": seconds, "collecting_seconds": collecting}
