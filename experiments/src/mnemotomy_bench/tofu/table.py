"""Tables 3, 4, 6 and 7 of arXiv 2606.14997 and one of attacks, on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from mnemotomy.report import terminal

Record = dict[str, Any]
Better = Literal["↑", "↓", ""]


@dataclass(frozen=True)
class Column:
    """A title, which way is better, and how a number is written."""

    title: str
    better: Better
    form: Callable[[float], str]


@dataclass(frozen=True)
class Table:
    """A caption, the columns by key, and which records are shown."""

    caption: str
    keys: tuple[str, ...]
    shows: Callable[[Record], bool] = lambda _: True


def _share(value: float) -> str:
    return f"{value:.3f}"


def _size(unit: float) -> Callable[[float], str]:
    return lambda value: f"{value / unit:,.0f}" if value / unit >= 1000 else f"{value / unit:.3g}"


COLUMNS: dict[str, Column] = {
    "overall": Column("Overall", "↑", _share),
    "memorization": Column("Mem.", "↑", _share),
    "em": Column("EM", "↓", _share),
    "es": Column("ES", "↓", _share),
    "pp": Column("PP", "↓", _share),
    "tr": Column("TR", "↓", _share),
    "utility": Column("Util.", "↑", _share),
    "mu": Column("MU", "↑", _share),
    "ff": Column("FF", "↑", _share),
    "ff_perplexity": Column("FF (perplexity)", "↑", _share),
    "privacy": Column("Priv.", "↑", _share),
    "s_loss": Column("S loss", "↑", _share),
    "s_zlib": Column("S zlib", "↑", _share),
    "s_min_k": Column("S min-k", "↑", _share),
    "s_min_k_plus_plus": Column("S min-k++", "↑", _share),
    "forget_quality": Column("FQ", "↑", lambda value: f"{value:.2f}"),
    "seconds": Column("seconds", "↓", _size(1.0)),
    "flops": Column("TFLOP", "↓", _size(1e12)),
    "peak_bytes": Column("peak MiB", "↓", _size(2.0**20)),
    "relearned_memorization": Column("relearned", "↑", _share),
    "bits8_memorization": Column("8 bits", "↑", _share),
    "bits4_memorization": Column("4 bits", "↑", _share),
    "paraphrased_memorization": Column("paraphrased", "↑", _share),
    "relearned_em": Column("EM relearned", "↓", _share),
    "bits8_em": Column("EM 8 bits", "↓", _share),
    "bits4_em": Column("EM 4 bits", "↓", _share),
    "paraphrased_em": Column("EM paraphrased", "↓", _share),
}
_KEYS = tuple(COLUMNS)
_DETAIL = _KEYS[: _KEYS.index("seconds")]
_ATTACKS = _KEYS[_KEYS.index("relearned_memorization") :]

TABLES: dict[str, Table] = {
    "3": Table("Table 3: what was forgotten, kept and can be told", ("memorization", "utility", "privacy", "em",
               "forget_quality", "overall")),
    "4": Table("Table 4: closed forms", ("overall", "memorization", "utility", "privacy", "em"),
               lambda record: record["family"] in ("closed form", "baseline")),
    "6": Table("Table 6: every part of Overall", _DETAIL),
    "7": Table("Table 7: cost of one run, measured", ("seconds", "flops", "peak_bytes", "overall"),
               lambda record: record["family"] != "baseline"),
    "attacks": Table("Memorization score and EM again after each attack", ("memorization", *_ATTACKS)),
    "8": Table("Table 8: kinds of projection, and blocks", ("overall", "memorization", "utility", "privacy", "em"),
               lambda record: record.get("sweep") in (None, "kinds", "blocks")),
    "9": Table("Table 9: instantiations", ("overall", "memorization", "utility", "privacy", "em")),
    "reference": Table("Closed forms with the retain set, and with texts that the model writes itself",
                       ("overall", "memorization", "utility", "privacy", "em", "seconds")),
    "sweep": Table("Sweep", ("overall", "memorization", "utility", "privacy", "em")),
}  # fmt: skip
_MARKDOWN = {1: ("**", "**"), 2: ("<u>", "</u>"), 0: ("", "")}
_TERMINAL = {1: ("[bold]", "[/bold]"), 2: ("[underline]", "[/underline]"), 0: ("", "")}


def keys_of(table: Table, records: Sequence[Record]) -> list[str]:
    """The table's columns of which some record has a number."""
    return [key for key in table.keys if any(record.get(key) is not None for record in records)]


def columns(records: Sequence[Record], name: str) -> list[dict[str, Any]]:
    """The numbers of a table by its name: a record for each row, with the columns as keys, and their spread."""
    table = TABLES[name]
    some = [record for record in records if table.shows(record)]
    keys = [key for column in keys_of(table, some) for key in (column, f"{column}_spread")]
    named = ("method", "title", "pair", "forget", "sweep", "value", "reference", "seeds")
    return [{key: record[key] for key in (*named, *keys) if key in record} for record in some]


def places(records: Sequence[Record], key: str) -> list[int]:
    """1 for the best of a column, 2 for the second best, 0 for the rest; equals share a place, baselines have none."""
    sign = -1.0 if COLUMNS[key].better == "↓" else 1.0
    worth = [
        None if record.get(key) is None or record["family"] == "baseline" else sign * round(record[key], 9)
        for record in records
    ]
    ranked = sorted({one for one in worth if one is not None}, reverse=True)[:2]
    return [0 if one is None or one not in ranked else ranked.index(one) + 1 for one in worth]


def text(record: Mapping[str, Any], key: str) -> str:
    """One number with its spread, as in ``0.984 ± 0.002``; a dash where there is none."""
    value, spread = record.get(key), record.get(f"{key}_spread")
    if value is None:
        return "–"
    form = COLUMNS[key].form
    return form(value) if spread is None else f"{form(value)} ± {form(spread)}"


def markdown(records: Sequence[Record], name: str) -> str:
    """A table by its name: best in bold, second best underlined."""
    table = TABLES[name]
    some = [record for record in records if table.shows(record)]
    keys = keys_of(table, some)
    marks = {key: places(some, key) for key in keys}
    heads = [f"{COLUMNS[key].title} {COLUMNS[key].better}".strip() for key in keys]
    lines = [table.caption, "", "| method | " + " | ".join(heads) + " |", "|---" + "|---:" * len(keys) + "|"]
    for number, record in enumerate(some):
        cells = [_marked(text(record, key), marks[key][number], _MARKDOWN) for key in keys]
        lines.append(f"| {record['title']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def print_table(records: Sequence[Record], name: str, console: Console) -> None:
    """The same on the terminal."""
    table = TABLES[name]
    some = [record for record in records if table.shows(record)]
    keys = keys_of(table, some)
    marks = {key: places(some, key) for key in keys}
    heads = ["method", *(f"{COLUMNS[key].title} {COLUMNS[key].better}".strip() for key in keys)]
    rows = [
        [escape(record["title"])] + [_marked(escape(text(record, key)), marks[key][number], _TERMINAL) for key in keys]
        for number, record in enumerate(some)
    ]
    terminal.print_table(console, table.caption, heads, rows)


def _marked(content: str, place: int, marks: Mapping[int, tuple[str, str]]) -> str:
    before, after = marks[place]
    return f"{before}{content}{after}"
