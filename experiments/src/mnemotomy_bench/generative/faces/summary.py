"""One record of the table from the cells of all seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from mnemotomy_bench.generative.faces.cases import ALPHAS, FaceCase
from mnemotomy_bench.generative.faces.methods import METHODS
from mnemotomy_bench.generative.records import FacesRecord
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.lab.seeds import mean_tree, over_seeds

TRUTH = "truth"
TITLE = "Perfect edit"
"""What is read from faces drawn without the attribute, as the autoencoder redraws them."""

MEASURED = (
    "before", "left", "amplified", "logit_before", "logit_left", "logit_amplified", "rank_correlation", "monotone",
    "falling", "others", "others_amplified", "factors", "factors_amplified", "bystanders", "untouched_inside",
    "erased_inside", "untouched_outside", "erased_outside", "reconstruction",
)  # fmt: skip
"""Numbers that are averaged over attributes and seeds."""


def summary(case: FaceCase, name: str, cells: Sequence[Record], settings: Record | None) -> FacesRecord:
    """Means over the seeds, ``…_spread`` if there are several; ``…_<attribute>`` for what is left of each.

    Args:
        case: of the cells.
        name: of the method, or ``truth``.
        cells: one per seed.
        settings: of the method.
    """
    method = METHODS.get(name)
    record: Record = {"case": case.name, "method": name, "title": method.title if method else TITLE}
    record |= over_seeds(cells, MEASURED)
    for attribute in case.attributes:
        of_one = [cell["attributes"][attribute] for cell in cells]
        for key in ("left", "others"):
            record |= over_seeds([{f"{key}_{attribute}": one[key]} for one in of_one], [f"{key}_{attribute}"])
    joint = [cell["arithmetic"] for cell in cells if cell.get("arithmetic")]
    record |= over_seeds(joint, ("both_left", "both_others", "crosstalk"))
    quality = [cell["redrawn_read"]["accuracy"] for cell in cells]
    record |= over_seeds([{"classifier_accuracy": sum(one) / len(one)} for one in quality], ["classifier_accuracy"])
    rest = {
        "seeds": [cell["seed"] for cell in cells],
        "selection": method.selection if method else "none",
        "settings": settings,
        "attributes": mean_tree([cell["attributes"] for cell in cells]),
        "curves": mean_tree([cell["curves"] for cell in cells]) if "curves" in cells[0] else None,
        "arithmetic": mean_tree(joint) if joint else None,
        "classifier": {key: mean_tree([cell[key] for cell in cells]) for key in ("faces_read", "redrawn_read")},
        "alphas": list(ALPHAS),
        "config": asdict(case),
    }
    return cast(FacesRecord, record | rest)
