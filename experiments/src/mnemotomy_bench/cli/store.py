"""``mnemotomy bench store``: a fact store of many facts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import one_line_errors
from mnemotomy_bench.cli.options import Json, show


@one_line_errors()
def store(
    facts: Annotated[int, typer.Option(min=1, help="How many facts.")] = 1_000_000,
    queries: Annotated[int, typer.Option(min=2, help="Half of them subjects, half questions.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the facts and the queries.")] = 0,
    folder: Annotated[
        Path | None, typer.Option(help="Where the store lies meanwhile; default: a temporary one.")
    ] = None,
    json_: Json = None,
) -> None:
    """Time and size of a fact store: building it, and searching it in one process.

    \b
    Example:
      mnemotomy bench store --json runs/bench/store.json
      mnemotomy bench store --facts 10000 --json -
    """
    from mnemotomy_bench.metabolism.store import run_store

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
