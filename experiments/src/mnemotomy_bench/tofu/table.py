"""Tables 3, 4, 6 and 7 of arXiv 2606.14997, and a table of attacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnemotomy.report.table import Table
from mnemotomy_bench.lab.table import Column, fixed, in_units_of, table

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Sheet:
    """A caption, the columns by key, and which records are shown."""

    caption: str
    keys: tuple[str, ...]
    shows: Callable[[Record], bool] = lambda _: True


COLUMNS: dict[str, Column] = {
    "overall": Column("Overall", fixed(3), "↑"),
    "memorization": Column("Mem.", fixed(3), "↑"),
    "em": Column("EM", fixed(3), "↓"),
    "es": Column("ES", fixed(3), "↓"),
    "pp": Column("PP", fixed(3), "↓"),
    "tr": Column("TR", fixed(3), "↓"),
    "utility": Column("Util.", fixed(3), "↑"),
    "mu": Column("MU", fixed(3), "↑"),
    "ff": Column("FF", fixed(3), "↑"),
    "ff_perplexity": Column("FF (perplexity)", fixed(3), "↑"),
    "privacy": Column("Priv.", fixed(3), "↑"),
    "s_loss": Column("S loss", fixed(3), "↑"),
    "s_zlib": Column("S zlib", fixed(3), "↑"),
    "s_min_k": Column("S min-k", fixed(3), "↑"),
    "s_min_k_plus_plus": Column("S min-k++", fixed(3), "↑"),
    "forget_quality": Column("FQ", fixed(2), "↑"),
    "seconds": Column("seconds", in_units_of(1.0), "↓"),
    "flops": Column("TFLOP", in_units_of(1e12), "↓"),
    "peak_bytes": Column("peak MiB", in_units_of(2.0**20), "↓"),
    "relearned_memorization": Column("relearned", fixed(3), "↑"),
    "bits8_memorization": Column("8 bits", fixed(3), "↑"),
    "bits4_memorization": Column("4 bits", fixed(3), "↑"),
    "paraphrased_memorization": Column("paraphrased", fixed(3), "↑"),
    "relearned_em": Column("EM relearned", fixed(3), "↓"),
    "bits8_em": Column("EM 8 bits", fixed(3), "↓"),
    "bits4_em": Column("EM 4 bits", fixed(3), "↓"),
    "paraphrased_em": Column("EM paraphrased", fixed(3), "↓"),
}
_KEYS = tuple(COLUMNS)
_DETAIL = _KEYS[: _KEYS.index("seconds")]
_ATTACKS = _KEYS[_KEYS.index("relearned_memorization") :]

TABLES: dict[str, Sheet] = {
    "3": Sheet("Table 3: forgetting, utility and privacy", ("memorization", "utility", "privacy", "em",
               "forget_quality", "overall")),
    "4": Sheet("Table 4: closed forms", ("overall", "memorization", "utility", "privacy", "em"),
               lambda record: record["family"] in ("closed form", "baseline")),
    "6": Sheet("Table 6: every part of Overall", _DETAIL),
    "7": Sheet("Table 7: cost of one run, measured", ("seconds", "flops", "peak_bytes", "overall"),
               lambda record: record["family"] != "baseline"),
    "attacks": Sheet("Memorization score and EM after each attack", ("memorization", *_ATTACKS)),
    "8": Sheet("Table 8: kinds of projection, and blocks", ("overall", "memorization", "utility", "privacy", "em"),
               lambda record: record.get("sweep") in (None, "kinds", "blocks")),
    "9": Sheet("Table 9: instantiations", ("overall", "memorization", "utility", "privacy", "em")),
    "reference": Sheet("Closed forms with the retain set, and with texts that the model wrote",
                       ("overall", "memorization", "utility", "privacy", "em", "seconds")),
    "sweep": Sheet("Sweep", ("overall", "memorization", "utility", "privacy", "em")),
}  # fmt: skip


def keys_of(sheet: Sheet, records: Sequence[Record]) -> list[str]:
    """The sheet's columns that some record has a number for."""
    return [key for key in sheet.keys if any(record.get(key) is not None for record in records)]


def columns(records: Sequence[Record], name: str) -> list[dict[str, Any]]:
    """The numbers of a table by its name: one record per row, with columns and spreads as keys."""
    sheet = TABLES[name]
    some = [record for record in records if sheet.shows(record)]
    keys = [key for column in keys_of(sheet, some) for key in (column, f"{column}_spread")]
    named = ("method", "title", "pair", "forget", "sweep", "value", "reference", "seeds")
    return [{key: record[key] for key in (*named, *keys) if key in record} for record in some]


def table_of(records: Sequence[Record], name: str) -> Table:
    """A table by its name; the pair's own models are not ranked."""
    sheet = TABLES[name]
    some = [record for record in records if sheet.shows(record)]
    columns = {key: COLUMNS[key] for key in keys_of(sheet, some)}
    return table(some, columns, caption=sheet.caption, competes=lambda record: record["family"] != "baseline")
