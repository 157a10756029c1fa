"""Which results each marked table shows, and how."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mnemotomy.report.table import Table
from mnemotomy_bench.classwise import group_tables
from mnemotomy_bench.classwise import table as classwise
from mnemotomy_bench.classwise.matrices import PAPER
from mnemotomy_bench.classwise.pretrained import PROJECTOR
from mnemotomy_bench.generative import table as generative
from mnemotomy_bench.lab.table import Column, percent, table
from mnemotomy_bench.metabolism import decouple_show, show
from mnemotomy_bench.pages import demo
from mnemotomy_bench.pages.faces import face_tables
from mnemotomy_bench.pages.rows import left, speed, theory, which
from mnemotomy_bench.real.show import markdown_of
from mnemotomy_bench.tofu.table import COLUMNS, table_of

Record = Mapping[str, Any]
Records = Sequence[Record]

_SWEEPS = {  # the head of the first column
    "kinds": "projections", "blocks": "block", "instantiations": "engram of", "strengths": "α̃",
    "cuts": "directions of Σ_total inverted", "filters": "filter", "variants": "projector",
    "reference": "method, reference",
}  # fmt: skip
_MAIN = ("B just-RAG", "C unlikelihood", "RLCP, rate 0.0003", "RLCP stable", "RLCP from engram")
_METABOLISM = {
    "metabolism": ("recall_train", "recall_heldout", "context_heldout", "counterfactual_heldout", "other_facts",
                   "arithmetic", "perplexity", "fresh_linear", "fresh_two_layer"),
    "forgetting": ("recall_train", "recall_heldout", "adversarial_probe", "fresh_linear", "fresh_two_layer",
                   "fresh_shuffled"),
    "reading": ("context_train", "context_heldout", "counterfactual_train", "counterfactual_heldout",
                "evidence_weight", "attention_entropy"),
    "keeping": ("other_facts", "reading", "arithmetic", "perplexity", "seconds"),
}  # fmt: skip
_RLCP = {
    "real-rlcp": ("recall_train", "recall_heldout", "context_heldout", "counterfactual_heldout", "other_facts",
                  "relations", "arithmetic", "perplexity", "fresh_linear"),
    "real-rlcp-probes": ("adversarial_probe", "probe_loss", "gradient_norm", "fresh_linear", "fresh_two_layer",
                         "fresh_shuffled", "evidence_weight_best_head", "attention_entropy"),
}  # fmt: skip
_CLASSWISE = {
    "tow": Column("ToW", classwise.COLUMNS["tow"].form, "↑"),
    "da": Column("alignment", classwise.COLUMNS["da"].form, "↑"),
    "nmi": Column("NMI", classwise.COLUMNS["nmi"].form, "↓"),
    "forget": Column("forget %", percent),
    "test_retain": Column("others, test %", percent),
    "relearned_forget": Column("relearned %", percent),
}
_TOFU = {
    "overall": "Overall", "memorization": "memorization", "utility": "utility", "ff_perplexity": "of it fluency",
    "privacy": "privacy", "relearned_em": "EM after relearning", "flops": "TFLOP",
}  # fmt: skip
_VARIED = (
    "learning_rate", "epochs", "alpha", "beta", "delta", "steering", "strength", "damping", "excess", "times", "by",
)  # fmt: skip
_LEFT_OUT = ("neggrad", "l1-sparse", "engram-twice", "engram-automatic-twice")


def tables(results: Path) -> dict[str, Callable[[], str]]:
    """Makers of Markdown by the name of the marker.

    Args:
        results: the folder with the results in JSON.
    """

    def read(name: str) -> Any:
        return json.loads((results / f"{name}.json").read_text(encoding="utf-8"))

    found: dict[str, Callable[[], str]] = {
        "demo": lambda: demo.before_after(read("demo")),
        "demo-real": lambda: demo.real(read("demo")),
        "demo-digits": lambda: demo.digits(read("demo")),
        "demo-small-world": lambda: demo.small_world(read("demo-small-world")),
        "which": lambda: which(read),
        "speed": lambda: speed(read("speed")["records"]),
        "decouple": lambda: decouple_show.table_of(read("decouple")).markdown(),
        "real-decouple": lambda: decouple_show.table_of(read("real-decouple")).markdown(),
        "theory": lambda: theory(read("mechanism")),
        "classwise": lambda: _classwise(read("classwise-cifar10")),
        "real": lambda: markdown_of(read("real")),
        "real-search": lambda: markdown_of(read("real-search")),
        "images-recognition": lambda: group_tables.recognition_table(read("images")).markdown(),
        "images-forms": lambda: group_tables.summary_table({"all but depthwise": read("images")}).markdown(),
        "images-groups": lambda: group_tables.group_table(read("images"), (PAPER, PROJECTOR)).markdown(),
        "images-forget": lambda: group_tables.forget_table(read("images-forget")).markdown(),
        "tofu": lambda: _tofu(read("tofu-tiny"), read("tofu-384")),
        "tofu-tiny-chosen": lambda: _chosen(read("tofu-tiny")),
    }
    for name, keys in _METABOLISM.items():
        found[name] = partial(_metabolism, partial(read, "metabolism"), name, keys)
    for name, keys in _RLCP.items():
        found[name] = partial(_metabolism, partial(read, "real-rlcp"), name, keys)
    for name in ("classwise-cifar10", "classwise-mnist"):
        found[name] = partial(_of_file, partial(read, name), classwise.table_of)
    for number in range(len(generative.DIGITS)):
        found[f"generative-digits-{number + 1}"] = partial(_sheet, partial(read, "generative-digits"), number)
    for name in ("erased", "elsewhere", "two"):
        found[f"faces-{name}"] = partial(_face, partial(read, "generative-faces"), name)
    for pair in ("tofu-tiny", "tofu-384", "tofu-512"):
        for sheet, name in (("6", "detail"), ("7", "cost"), ("attacks", "attacks")):
            found[f"{pair}-{name}"] = partial(_of_pair, partial(read, pair), sheet)
    for name in _SWEEPS:
        found[f"sweep-{name}"] = partial(_sweep, partial(read, "tofu-tiny-sweeps"), name)
    return found


def _of_file(read: Callable[[], Records], shown: Callable[[Records], Table]) -> str:
    return shown(read()).markdown()


def _metabolism(read: Callable[[], Records], name: str, keys: Sequence[str]) -> str:
    records = read()
    if name == "metabolism":
        records = [one for one in records if one["configuration"] in ("A original", *_MAIN)]
    known = {**show.COLUMNS, **show.MORE}
    columns = {key: known[key] for key in keys}
    return table(records, columns, name="configuration", head="configuration").markdown()


def _classwise(records: Records) -> str:
    some = [one for one in records if one["method"] not in _LEFT_OUT]
    return table(some, _CLASSWISE, competes=lambda _: False).markdown()


def _sheet(read: Callable[[], Records], number: int) -> str:
    return generative.tables_of(read())[number].markdown()


def _face(read: Callable[[], Records], name: str) -> str:
    return face_tables(read())[name].markdown()


def _of_pair(read: Callable[[], Records], sheet: str) -> str:
    attacked = [one for one in read() if sheet != "attacks" or one.get("relearned_em") is not None]
    return table_of(attacked, sheet).markdown()


def _sweep(read: Callable[[], Records], name: str) -> str:
    some = [one for one in read() if one.get("sweep", "reference") == name]
    keys = ("overall", "memorization", "em", "utility", "mu", "privacy")
    return table(some, {key: COLUMNS[key] for key in keys}, head=_SWEEPS[name], competes=lambda _: False).markdown()


def _tofu(first: Records, second: Records) -> str:
    """Both pairs side by side; the records are copied, because a column of the second joins the first."""
    overall = {one["method"]: one for one in second}
    columns = {key: replace(COLUMNS[key], title=title) for key, title in _TOFU.items()}
    columns["second"] = Column("Overall, second pair", COLUMNS["overall"].form, "↑")
    rows = [
        dict(one)
        | {
            f"second{end}": overall[one["method"]][f"overall{end}"]
            for end in ("", "_spread")
            if f"overall{end}" in overall[one["method"]]
        }
        for one in first
    ]
    return table(rows, columns, competes=lambda one: one["family"] != "baseline").markdown()


def _chosen(records: Records) -> str:
    """What validation chose, and the score that it was chosen by."""
    rows = []
    for one in records:
        tried = [found for found in one.get("searched") or [] if found["config"] == one["config"]]
        if one["family"] != "baseline":
            score = f"{tried[0]['chosen_by']:.3f}" if tried else "–"
            rows.append([one["title"], one["method"], _setting(one["config"]), score])
    return left(Table(["method", "name", "setting", "validation score"], rows), 3)


def _setting(config: Record) -> str:
    """The fields that a search varies, in words."""
    shown = [key for key in _VARIED if isinstance(config.get(key), float | int | str)]
    parts = [", ".join(f"{key} {config[key]}" for key in shown)]
    parts += [
        f"{key}: {inner}" for key, part in config.items() if isinstance(part, Mapping) and (inner := _setting(part))
    ]
    return "; ".join(filter(None, parts))
