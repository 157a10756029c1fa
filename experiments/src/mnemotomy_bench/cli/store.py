"""``mnemotomy bench store``: a fact store of many facts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import emit_json, json_option, one_line_errors


@one_line_errors()
def store(
    facts: Annotated[int, typer.Option(min=1, help="How many facts.")] = 1_000_000,
    queries: Annotated[int, typer.Option(min=2, help="Half of them subjects, half questions.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the facts and the queries.")] = 0,
    folder: Annotated[
        Path | None, typer.Option(help="Where the store lies meanwhile; default: a temporary one.")
    ] = None,
    json_: Annotated[str | None, json_option("the record")] = None,
) -> None:
    """Time and size of a fact store: building it, and searching it in one process.

    \b
    Example:
      mnemotomy bench store --json runs/bench/store.json
      mnemotomy bench store --facts 10000 --json -
    """
    from mnemotomy_bench.metabolism.store import run_store

    record = run_store(facts=facts, queries=queries, seed=seed, folder=folder)
    if json_ is not None:
        emit_json(record, json_)
    if json_ != "-":
        megabytes = record["bytes"] / 1e6
        typer.echo(f"{facts} facts: built in {record['build_seconds']:.1f} s, {megabytes:.1f} MB")
        for kind, found in record["queries"].items():
            typer.echo(
                f"{kind}: p50 {found['p50_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms, first {found['first']:.1%}, "
                f"relevant {found['relevant']:.1%}"
            )
        typer.echo(f"delete: {record['delete_seconds']:.2f} s")
