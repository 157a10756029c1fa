"""The tables of attributes of faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnemotomy.report.table import Table
from mnemotomy_bench.lab.table import Column, fixed, percent, table

Record = Mapping[str, Any]

ERASED = {
    "before": Column("before %", percent),
    "left": Column("left %", percent),
    "amplified": Column("amplified % (α = −2/3)", percent),
    "rank_correlation": Column("rank correlation", fixed(2)),
    "falling": Column("steps that fall %", percent),
    "others": Column("other attributes, change %", percent),
    "factors": Column("factors, change % of range", percent),
}
ELSEWHERE = {
    "erased_inside": Column("inside", fixed(4)),
    "erased_outside": Column("outside", fixed(5)),
    "bystanders": Column("bystanders", fixed(5)),
}
TWO = {
    "both_left": Column("both erased: left %", percent),
    "both_others": Column("other attributes, change %", percent),
    "crosstalk": Column("crosstalk", fixed(3)),
}
_STATES = ("μ + glasses − goatee", "μ − glasses + goatee")


def face_tables(records: Sequence[Record]) -> dict[str, Table]:
    """Attributes erased, errors elsewhere, and two attributes at once."""
    edits = [record for record in records if record["erased_inside"] is not None]
    first = edits[0]
    unedited = {
        "title": "unedited",
        "erased_inside": first["untouched_inside"],
        "erased_outside": first["untouched_outside"],
        "bystanders": 0.0,
    }
    return {
        "erased": table(records, ERASED),
        "elsewhere": table([unedited, *edits], ELSEWHERE),
        "two": _beside(table(edits, TWO), edits),
    }


def _beside(shown: Table, edits: Sequence[Record]) -> Table:
    """The table with a column for each exchange of the two attributes."""
    heads = [*shown.heads, *(f"{state}: glasses, goatee %" for state in _STATES)]
    rows = [
        [
            *row,
            *(
                ", ".join(percent(edit["arithmetic"]["states"][state][name]) for name in ("glasses", "goatee"))
                for state in _STATES
            ),
        ]
        for row, edit in zip(shown.rows, edits, strict=True)
    ]
    return Table(heads, rows)
