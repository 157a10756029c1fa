"""``mnemotomy bench tables``: the tables of the README and of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import one_line_errors
from mnemotomy.core.errors import ConfigurationError


@one_line_errors()
def tables(
    root: Annotated[Path, typer.Argument(help="The checkout.")] = Path(),
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 2 where a table is stale.")] = False,
) -> None:
    """Write the marked tables of README.md and docs/results/*.md from docs/results/*.json.

    \b
    Example:
      mnemotomy bench tables
      mnemotomy bench tables --check
    """
    from mnemotomy_bench.pages.fill import fill, stale
    from mnemotomy_bench.pages.tables import tables as known

    makers = known(root / "docs" / "results")
    if check and (old := stale(root, makers)):
        raise ConfigurationError(
            f"tables differ from the results in {', '.join(map(str, old))}; run 'make docs-tables'"
        )
    for page in [] if check else fill(root, makers):
        typer.echo(f"{page}: changed")
