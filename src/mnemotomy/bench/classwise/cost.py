"""What all classes cost together: one extraction against every gradient method run once per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnemotomy.bench.classwise.anatomy import Anatomy, class_atlas, class_engrams
from mnemotomy.bench.classwise.flops import counted_flops

Record = dict[str, Any]
PUBLISHED_EPOCHS = 10
"""Table 5."""
WORKS = 0.9
"""A method with this Tug-of-War has forgotten the class and kept the rest; the cheapest of all may have done neither."""


def extraction(anatomy: Anatomy) -> Record:
    """The cost of the engrams of all classes: collecting, factorising, extracting."""
    subject = anatomy.subject
    usage = anatomy.extraction
    flops = counted_flops(lambda: class_engrams(class_atlas(anatomy.model, subject.train), subject.classes))
    return {
        "seconds": usage.seconds, "peak_bytes": usage.peak_bytes, "flops": flops, "classes": subject.classes,
    }  # fmt: skip


def cost(extracted: Mapping[str, Any], records: Sequence[Record]) -> Record:
    """How many times cheaper than each gradient method, which runs once per class.

    ``times_cheaper`` is of wall time as run, ``…_published`` scaled to Table 5's epochs, ``…_flops`` of operations.

    Args:
        extracted: of ``extraction``, the mean over seeds.
        records: of the table.
    """
    classes = extracted["classes"]
    found = {}
    for record in records:
        epochs = (record.get("config") or {}).get("epochs")
        if epochs is None or record["seconds"] is None:
            continue
        times = classes * record["seconds"] / extracted["seconds"]
        found[record["method"]] = {
            "seconds_per_class": record["seconds"],
            "epochs": epochs,
            "tow": record["tow"],
            "times_cheaper": times,
            "times_cheaper_published": times * PUBLISHED_EPOCHS / epochs,
            "times_cheaper_flops": classes * record["flops"] / extracted["flops"],
        }
    working = [name for name, one in found.items() if one["tow"] >= WORKS]
    return {
        "extraction": dict(extracted),
        "baselines": found,
        "cheapest": min(found, key=lambda name: found[name]["times_cheaper"], default=None),
        "cheapest_working": min(working, key=lambda name: found[name]["times_cheaper"], default=None),
    }
