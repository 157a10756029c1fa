"""One record of the table from the cells of all seeds: means, spreads, and gaps to the retrained models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from mnemotomy_bench.classwise.cases import Case
from mnemotomy_bench.classwise.measure import NMI_DRAWS
from mnemotomy_bench.classwise.records import Cell
from mnemotomy_bench.classwise.training import recipe
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.lab.seeds import over_seeds

MEASURED = (
    "tow", "da", "nmi", "forget", "retain", "test", "test_forget", "test_retain", "cka_original", "cka_retrained",
    "membership_accuracy", "membership_efficacy", "relearned_forget", "relearned_retain", "seconds", "flops",
    "peak_bytes",
)  # fmt: skip
"""The numbers of a cell."""

WITHOUT_GAP = {"seconds", "flops", "peak_bytes", "cka_original", "cka_retrained"}


def summary(case: Case, cells: Sequence[Cell], retrained: Sequence[Cell]) -> Record:
    """The mean of every number over the seeds that did not diverge, None if all did.

    ``…_spread`` is the standard deviation, if there are several seeds, and ``…_gap`` the distance of the mean to the
    retrained models' mean.
    """
    whole = [cell for cell in cells if not cell["failed"]]
    others = cast("Sequence[Record]", retrained)
    record: Record = {"seeds": [cell["seed"] for cell in whole]}
    record |= over_seeds(whole, MEASURED)
    for key in MEASURED:
        if record[key] is not None and key not in WITHOUT_GAP:
            record[f"{key}_gap"] = abs(record[key] - sum(cell[key] for cell in others) / len(others))
    record["config"] = cells[0].get("config")
    record["diverged_seeds"] = [cell["seed"] for cell in cells if cell["failed"]]
    record["settings"] = settings(case) | {"bfloat16": cells[0].get("bfloat16", False)}
    return record


def settings(case: Case) -> Record:
    """The settings of the case, which may differ from the paper's; in every record."""
    grid = case.grid
    return {
        "data": case.data,
        "network": case.network,
        "width": case.width,
        "training": asdict(recipe(case)),
        "forget_class": case.forget,
        "examples_read": case.read,
        "test_images": case.test_images,
        "given": case.given,
        "retained_by_gradient_methods": case.retained,
        "examples_clustered": case.features,
        "subset_images": case.subset_images,
        "grid": {key: value for key, value in vars(grid).items() if key != "automatic"},
        "automatic": asdict(grid.automatic),
        "relearning": asdict(case.relearning) | {"mode": "evaluation"},
        "da": "uncentred, 95 % of the retained energy",
        "nmi": f"two clusters, balanced, mean of {NMI_DRAWS} draws",
        "cka": "linear, head inputs of the test set",
        "membership": "losses",
        "flops": "counted on the first seed",
    }
