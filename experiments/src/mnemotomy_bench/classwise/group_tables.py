"""Tables of groups of classes erased from a pretrained classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnemotomy.report.table import Table
from mnemotomy_bench.lab.table import Column, percent, table

Record = Mapping[str, Any]

_SUMMARY = {
    "erased_mean": Column("erased group %", percent, "↓"),
    "erased_worst": Column("worst group %", percent, "↓"),
    "others_lost_mean": Column("others lose, points", percent, "↓"),
    "others_lost_worst_row": Column("worst row, points", percent, "↓"),
}


def recognition_table(record: Record) -> Table:
    """What the untouched model recognises of each class of the data, and how many images of it were used."""
    heads = ("class", "classes of ImageNet", "test images", "recognised %", "of the groups alone %", "erased")
    rows = [
        [
            row["group"], str(row["classes"]), str(row["images"]),
            *("–" if row[key] is None else percent(row[key]) for key in ("top", "forced")),
            "yes" if row["group"] in record["groups"] else "no",
        ]
        for row in record["recognition"]["test"]
    ]  # fmt: skip
    return Table(heads, rows)


def summary_table(records: Mapping[str, Record]) -> Table:
    """What every form leaves and costs, by the layers that are edited."""
    rows = [
        {"form": f"{layers}: {title}", **found}
        for layers, record in records.items()
        for title, found in record["summary"].items()
    ]
    return table(rows, _SUMMARY, name="form", head="layers and form")


def group_table(record: Record, titles: Sequence[str]) -> Table:
    """By group: what is left of it and the mean accuracy on the others, once it is erased."""
    heads = ["erased", *(f"{title}: {what}" for title in titles for what in ("left %", "others %"))]
    rows = []
    for place, group in enumerate(record["groups"]):
        cells = []
        for title in titles:
            own, *others = _first(record["matrices"][title][place], place)
            cells += [percent(own), percent(sum(others) / len(others))]
        rows.append([group, *cells])
    return Table(heads, rows)


def forget_table(record: Record) -> Table:
    """By group: what ``forget`` left of it and of the others, on test images, and whether it would save the result."""
    heads = ("forgotten", "candidate", "left %", "others %", "other groups, lowest %", "KL, nats", "saved", "minutes")
    rows = []
    for group, found in record["forgotten"].items():
        own, *others = _first(found["found"], record["groups"].index(group))
        after = found["scores"]["after"]
        rows.append([
            group,
            str(found["chosen"]["name"]),
            percent(own),
            percent(sum(others) / len(others)),
            percent(min(others)),
            "–" if after is None else f"{after['kl']:.2f}",
            "only with --force" if found["concerns"] else "yes",
            f"{sum(found['seconds'].values()) / 60:.0f}",
        ])  # fmt: skip
    return Table(heads, rows)


def _first(row: Sequence[float], place: int) -> list[float]:
    return [row[place], *row[:place], *row[place + 1 :]]
