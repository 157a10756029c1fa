"""``mnemotomy bench store``: a fact store of many facts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import one_line_errors
from mnemotomy_bench.cli.options import Json, show


@one_line_errors()
def store(
    facts: Annotated[int, typer.Option(min=1, help="Number of facts.")] = 1_000_000,
    queries: Annotated[int, typer.Option(min=2, help="Number of queries: half subjects, half questions.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the facts and the queries.")] = 0,
    folder: Annotated[Path | None, typer.Option(help="Where to build the store; default: a temporary folder.")] = None,
    json_: Json = None,
) -> None:
    """Measure the size of a fact store, and how long it takes to build and to search.

    \b
    Example:
      mnemotomy bench store --json runs/bench/store.json
      mnemotomy bench store --facts 10000 --json -
    """
    from mnemotomy_bench.speed.store import run_store

    record = run_store(facts=facts, queries=queries, seed=seed, folder=folder)
    lines = [
        f"{facts} facts: built in {record['build_seconds']:.1f} s, {record['bytes'] / 1e6:.1f} MB",
        *(
            f"{kind}: p50 {found['p50_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms, first {found['first']:.1%}, "
            f"relevant {found['relevant']:.1%}"
            for kind, found in record["queries"].items()
        ),
        f"delete: {record['delete_seconds']:.2f} s",
    ]
    show(record, json_, lambda _: typer.echo("\n".join(lines)))
