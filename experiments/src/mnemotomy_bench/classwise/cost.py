"""The cost of all classes: one extraction against every gradient method run once per class."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from mnemotomy_bench.classwise.class_engrams import Anatomy, class_atlas, class_engrams
from mnemotomy_bench.classwise.flops import THINNED
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.lab.flops import counted_flops
from mnemotomy_bench.lab.resources import measured
from mnemotomy_bench.vision.examples import some

PUBLISHED_EPOCHS = 10
"""Table 5."""


class Extraction(TypedDict):
    """What the engrams of all classes cost.

    Attributes:
        seconds: of wall time, collecting included.
        collecting_seconds: of these.
        peak_bytes: the highest rise of memory, if the system tells.
        flops: operations.
        classes: how many.
        share_collected: of the training examples.
    """

    seconds: float
    collecting_seconds: float
    peak_bytes: int | None
    flops: int
    classes: int
    share_collected: float


def extraction(anatomy: Anatomy) -> Extraction:
    """The cost of the engrams of all classes: collecting, factorising, extracting."""
    subject, model, rows = anatomy.subject, anatomy.model, anatomy.subject.case.grid.fields_read
    with measured(subject.device) as usage:
        start = time.perf_counter()
        atlas = class_atlas(model, anatomy.collected, rows)
        collecting = time.perf_counter() - start
        class_engrams(atlas, subject.classes)
    few = some(anatomy.collected, max(1, len(anatomy.collected) // THINNED))
    thinned = counted_flops(lambda: class_atlas(model, few, rows))
    return {
        "seconds": usage.seconds,
        "collecting_seconds": collecting,
        "peak_bytes": usage.peak_bytes,
        "flops": thinned * THINNED + counted_flops(lambda: class_engrams(atlas, subject.classes)),
        "classes": subject.classes,
        "share_collected": len(anatomy.collected) / len(subject.train),
    }


def cost(extracted: Extraction, records: Sequence[Mapping[str, Any]]) -> Record:
    """How many times cheaper extraction is than each gradient method run once per class.

    ``times_cheaper`` compares wall time as run, ``…_flops`` operations; ``…_published`` uses Table 5's epochs on the
    examples that gradient methods read here, against a collection from every training example.

    Args:
        extracted: of ``extraction``, the mean over seeds.
        records: of the table.
    """
    classes, seconds = extracted["classes"], extracted["seconds"]
    whole = seconds + extracted["collecting_seconds"] * (1.0 / extracted["share_collected"] - 1.0)
    found = {}
    for record in records:
        epochs = (record.get("config") or {}).get("epochs")
        if epochs is None or record["seconds"] is None:
            continue
        found[record["method"]] = {
            "seconds_per_class": record["seconds"],
            "epochs": epochs,
            "tow": record["tow"],
            "times_cheaper": classes * record["seconds"] / seconds,
            "times_cheaper_published": classes * record["seconds"] * PUBLISHED_EPOCHS / epochs / whole,
            "times_cheaper_flops": classes * record["flops"] / extracted["flops"],
        }
    return {
        "extraction": dict(extracted),
        "baselines": found,
        "cheapest": min(found, key=lambda name: found[name]["times_cheaper"], default=None),
    }
