"""What the figures show beside the table, of the original models; each part cached, some on the first seed only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mnemotomy.bench.classwise.anatomy import Anatomy
from mnemotomy.bench.classwise.cells import cached
from mnemotomy.bench.classwise.cost import cost, extraction
from mnemotomy.bench.classwise.degradation import degradation
from mnemotomy.bench.classwise.matrices import every_subset, grouped, matrices
from mnemotomy.bench.classwise.spectrum import spectra
from mnemotomy.bench.classwise.subject import Subject
from mnemotomy.bench.classwise.sufficiency import sufficiency
from mnemotomy.metrics.interval import mean_and_spread

Record = dict[str, Any]
Analyses = dict[str, Any]


def analyse(out_dir: Path, subjects: Iterable[Subject], records: Sequence[Record]) -> Analyses:
    """Matrices, degradation, sufficiency and cost of every seed; groups, subsets and spectra of the first.

    Args:
        out_dir: for the parts; what is there is not run again.
        subjects: of one case, one per seed, made one by one.
        records: of the table of this case.
    """
    seeds: list[Record] = []
    first: Record = {}
    for subject in subjects:
        anatomy = Anatomy(subject)

        def part(name: str, run: Callable[[], Any], subject: Subject = subject) -> Any:
            return cached(out_dir, subject, {"analysis": name}, lambda: {"found": run()})["found"]

        strengths = part("matrices", lambda anatomy=anatomy: matrices(anatomy))
        found = {
            "seed": subject.seed,
            "extraction": part("extraction", lambda anatomy=anatomy: extraction(anatomy)),
            "matrices": strengths,
            "degradation": part(
                "degradation",
                lambda anatomy=anatomy, one=strengths: degradation(anatomy, one["before"], one["matrices"]),
            ),
            "sufficiency": part("sufficiency", lambda anatomy=anatomy: sufficiency(anatomy)),
        }
        if not seeds:
            alpha = strengths["strength"]
            first = {
                "groups": part("groups", lambda anatomy=anatomy, alpha=alpha: grouped(anatomy, alpha)),
                "subsets": part("subsets", lambda anatomy=anatomy, alpha=alpha: every_subset(anatomy, alpha)),
                "spectra": part("spectra", lambda anatomy=anatomy: spectra(anatomy)),
            }
        seeds.append(found)
    return {"seeds": seeds, **first, **over_seeds(seeds), "cost": cost(_mean_extraction(seeds), records)}


def over_seeds(seeds: Sequence[Record]) -> Record:
    """``erasure``: what is left of erased classes and lost by others, the mean and spread over seeds, by matrix."""
    found: Record = {}
    for title, numbers in seeds[0]["matrices"]["summary"].items():
        found[title] = {}
        for key in numbers:
            mean, spread = mean_and_spread([seed["matrices"]["summary"][title][key] for seed in seeds])
            found[title] |= {key: mean} | ({f"{key}_spread": spread} if len(seeds) > 1 else {})
    return {"erasure": found}


def _mean_extraction(seeds: Sequence[Record]) -> Record:
    parts = [seed["extraction"] for seed in seeds]
    return {**parts[0], "seconds": sum(part["seconds"] for part in parts) / len(parts)}
