"""The demo's tables, for the README and the page of results."""

from __future__ import annotations

from typing import Any

from mnemotomy.demo.show import language_table, markdown
from mnemotomy.demo.show_real import real_table
from mnemotomy.report.table import Table


def before_after(results: dict[str, Any]) -> str:
    """How the pretrained model continues one phrasing, which no moments contain, and what the edit costs."""
    found = results["real"]
    first = {row["kind"]: row for row in reversed(found["generations"])}
    rows = [
        [f"{row['prompt']} …", *(f"… {' '.join(row[state].split())}" for state in ("before", "after"))]
        for row in (first["erased, held-out phrasing"], first["another city, in no moments"])
    ]
    states = [found["before"], found["after"]]
    rows.append(
        [
            f"countries of {len(found['known']['unseen'])} other cities; perplexity",
            *(f"{100 * state['unseen']:.0f} %; {state['perplexity']:.1f}" for state in states),
        ]
    )
    return Table(["SmolLM2-135M-Instruct", "before", f"cities of {found['country']} erased"], rows).markdown()


def real(results: dict[str, Any]) -> str:
    """What the pretrained model answers before and after, and of which cities."""
    found = results["real"]
    known = found["known"]
    return (
        f"SmolLM2-135M-Instruct knows {sum(map(len, known.values()))} of {found['asked']} cities. Erased: "
        f"{len(known['target'])} in {found['country']}; in the reference: {len(known['seen'])}; in no moments: "
        f"{len(known['unseen'])}.\n\n{real_table(results).markdown()}"
    )


def digits(results: dict[str, Any]) -> str:
    """The digits in two rows: the last of the demo's own tables."""
    return markdown(results).rpartition("\n\n")[2]


def small_world(results: dict[str, Any]) -> str:
    """The small world's table."""
    targets = ", ".join(results["language"]["targets"])
    return f"{targets} erased:\n\n{language_table(results).markdown()}"
