"""Tables whose rows no bench writes by itself: speed, theory, and which method when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnemotomy.report.table import Table

Record = Mapping[str, Any]

_THEORY = (
    "configuration", "cosine of fact and arithmetic gradients", "measured change of the arithmetic loss",
    "bound of Proposition 3.2", "Corollary 3.4: measured", "bound", "energy of the subjects' tokens",
)  # fmt: skip


def left(table: Table, columns: int) -> str:
    """The table in Markdown with its first columns, which are texts, on the left."""
    return table.markdown().replace("|---:", "|---", columns - 1)


def speed(records: Sequence[Record]) -> str:
    """Seconds and ratios by case, and what one concept more costs."""
    heads = ("case", "floor", "Mnemotomy", "peer", "to floor", "to peer", "peak memory to peer")
    rows = [
        [
            record["case"],
            *(f"{record['seconds'][which]:.1f} s" for which in ("floor", "ours", "peer")),
            *(
                f"{record[key]:.2f}" if record.get(key) is not None else "–"
                for key in ("ours_to_floor", "ours_to_peer", "memory_to_peer")
            ),
        ]
        for record in records
    ]
    many = next(record for record in records if "last concept" in record["parts"]["ours"])
    return (
        f"{Table(heads, rows).markdown()}\n\n"
        f"Ten concepts: {1 / many['ours_to_peer']:.1f} times faster than the peer called for each; one concept more "
        f"costs {many['parts']['ours']['last concept']:.1f} s."
    )


def theory(mechanism: Record) -> str:
    """Proposition 3.2, Corollary 3.4 and the energy, by configuration."""
    rows = []
    for name, found in mechanism.items():
        steps = [found["gradients"][step] for step in ("proposition", "corollary")]
        changes = [f"{abs(step[key]):.1e}" for step in steps for key in ("change", "bound")]
        energy = f"{found['energy']['total']:.2e}"
        rows.append([name, f"{found['gradients']['overall_cosine']:+.3f}", *changes, energy])
    return Table(_THEORY, rows).markdown()


def which(read: Callable[[str], Any]) -> str:
    """Which method when, with the time and the memory that it took here."""
    searches = [row for row in read("real-search") if row["edit"] == "forget, defaults"]
    tofu = {row["method"]: row for row in read("tofu-tiny")}
    vision = {row["method"]: row for row in read("classwise-cifar10")}
    facts = {row["configuration"]: row for row in read("metabolism")}

    def cost(*rows: Record) -> list[str]:
        seconds = " and ".join(f"{row['seconds']:.0f}" for row in rows)
        return [f"{seconds} s", " and ".join(f"{row['peak_bytes'] / 2**20:,.0f}" for row in rows) + " MiB"]

    small, resnet = "6 M parameters, 20 authors", "ResNet-18, a quarter of its width"
    rows = [
        ["facts or a person, a pretrained model", "forget", "135 M parameters, 1 and 3 facts", *cost(*searches)],
        ["long answers, with a retain set", "unlearn --method two-sided", small, *cost(tofu["two-sided"])],
        ["the same, more fluent", "unlearn --method hybrid", small, *cost(tofu["hybrid"])],
        ["training, as in the literature", "unlearn --method npo", small, *cost(tofu["npo"])],
        ["a class of images", "engram-automatic", resnet, *cost(vision["engram-automatic"])],
        ["facts that move into a store", "metabolize", "1.5 M parameters, 15 facts",
         f"{facts['RLCP stable']['seconds']:.0f} s", "–"],
    ]  # fmt: skip
    return left(Table(["to forget", "use", "measured on", "time", "extra memory"], rows), 3)
