"""One record of the table from the cells of all seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mnemotomy_bench.generative.faces.cases import ALPHAS, FaceCase
from mnemotomy_bench.generative.faces.methods import METHODS
from mnemotomy_bench.metrics.interval import averaged

Record = dict[str, Any]

TRUTH = "truth"
TITLE = "Perfect edit"
"""What is read of faces drawn without the attribute, as the autoencoder redraws them."""

MEASURED = (
    "before", "left", "amplified", "logit_before", "logit_left", "logit_amplified", "rank_correlation", "monotone",
    "falling", "others", "others_amplified", "factors", "factors_amplified", "bystanders", "untouched_inside",
    "erased_inside", "untouched_outside", "erased_outside", "reconstruction",
)  # fmt: skip
"""Numbers that are averaged over attributes and seeds."""


def summary(case: FaceCase, name: str, cells: Sequence[Record], settings: Record | None) -> Record:
    """Means over the seeds, ``…_spread`` where there are several; ``…_<attribute>`` for what is left of each.

    Args:
        case: of the cells.
        name: of the method, or ``truth``.
        cells: one per seed.
        settings: of the method.
    """
    method = METHODS.get(name)
    record: Record = {"case": case.name, "method": name, "title": method.title if method else TITLE}
    for key in MEASURED:
        record |= averaged(cells, key)
    for attribute in case.attributes:
        of_one = [cell["attributes"][attribute] for cell in cells]
        for key in ("left", "others"):
            record |= averaged([{f"{key}_{attribute}": one[key]} for one in of_one], f"{key}_{attribute}")
    joint = [cell["arithmetic"] for cell in cells if cell.get("arithmetic")]
    for key in ("both_left", "both_others", "crosstalk"):
        record |= averaged(joint, key)
    quality = [cell["redrawn_read"]["accuracy"] for cell in cells]
    record |= averaged([{"classifier_accuracy": sum(one) / len(one)} for one in quality], "classifier_accuracy")
    return record | {
        "seeds": [cell["seed"] for cell in cells],
        "selection": method.selection if method else "none",
        "settings": settings,
        "attributes": _mean_tree([cell["attributes"] for cell in cells]),
        "curves": _mean_tree([cell["curves"] for cell in cells]) if "curves" in cells[0] else None,
        "arithmetic": _mean_tree(joint) if joint else None,
        "classifier": {key: _mean_tree([cell[key] for cell in cells]) for key in ("faces_read", "redrawn_read")},
        "alphas": list(ALPHAS),
        "config": asdict(case),
    }


def _mean_tree(trees: Sequence[Any]) -> Any:
    """The mean of every number in trees of one shape."""
    first = trees[0]
    if isinstance(first, Mapping):
        return {key: _mean_tree([tree[key] for tree in trees]) for key in first}
    if isinstance(first, list):
        return [_mean_tree(list(values)) for values in zip(*trees, strict=True)]
    if any(tree is None for tree in trees):
        return None
    return sum(trees) / len(trees)
