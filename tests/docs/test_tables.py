"""Tables of docs/results/README.md agree with the files that they come from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

RESULTS = Path(__file__).parents[2] / "docs" / "results"
OF_FACTS = {  # the columns that are percentages, in the table's order; None for others
    "metabolism": ("configuration", ["recall_train", "recall_heldout", "context_heldout", "counterfactual_heldout",
                   "other_facts", "arithmetic", None, "fresh_linear", "fresh_two_layer"]),
    "decouple": ("model", ["without_store", "with_store", "others_with_store", "follows_change", "stale",
                 "answered_after_deletion", "admits_deletion", "admits_absent"]),
}  # fmt: skip


def table(name: str) -> list[list[str]]:
    """The cells of the rows between the marks."""
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, re.DOTALL)
    assert found is not None
    lines = [line for line in found[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def test_the_table_of_speed() -> None:
    def shown(record: Any) -> list[str]:
        seconds = [f"{record['seconds'][which]:.1f} s" for which in ("floor", "ours", "peer")]
        ratios = [record.get(key) for key in ("ours_to_floor", "ours_to_peer", "memory_to_peer")]
        return [f"`{record['case']}`", *seconds, *("–" if one is None else f"{one:.2f}" for one in ratios)]

    records = {record["case"]: record for record in results("speed")["records"]}
    for row in table("speed"):
        assert row == shown(records[row[0].strip("`")])


@pytest.mark.parametrize("name", OF_FACTS)
def test_the_tables_of_facts(name: str) -> None:
    title, columns = OF_FACTS[name]
    records = {record[title]: record for record in results(name)}
    rows = table(name)
    assert rows
    for row in rows:
        record = records[row[0]]
        for cell, key in zip(row[1:], columns, strict=True):
            if key is not None:
                assert cell == f"{100 * record[key]:.1f} ± {100 * record[f'{key}_spread']:.1f}", (row[0], key)
