"""``mnemotomy bench real``: facts forgotten by pretrained models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnemotomy.cli.outcome import one_line_errors
from mnemotomy.core.files import write_text
from mnemotomy_bench.cli.options import Json, Seeds, keep, show

if TYPE_CHECKING:
    from rich.console import Console


@one_line_errors()
def real(
    model: Annotated[str, typer.Argument(help="A folder or hub id of a pretrained causal language model.")],
    out: Annotated[Path, typer.Option(help="For results; finished ones are reused.")] = Path("runs/bench/real"),
    trials: Annotated[int, typer.Option(min=1, help="Candidates of the search.")] = 12,
    requests: Annotated[int, typer.Option(min=1, max=4, help="1 city, 3 cities, a country, 15 cities.")] = 4,
    texts: Annotated[int, typer.Option(min=0, help="Problems of GSM8K for the perplexity, where the data exist.")] = 20,
    seed: Seeds = None,
    json_: Json = None,
) -> None:
    """Forget facts that a pretrained model knows: by default settings, and by single settings chosen by hand.

    Only facts that the model says in five of seven phrasings are used. Nothing that is reported was in the moments or
    in the search, but for the column 'target'.

    \b
    Example:
      mnemotomy bench real smollm2
      mnemotomy bench real smollm2 --requests 1 --trials 4
    """
    from mnemotomy_bench.real.run import RealRun
    from mnemotomy_bench.real.show import markdown_of, tables_of
    from mnemotomy_bench.real.texts import problems

    run = RealRun(model, out, trials, problems(texts), requests)
    records = [row for one in seed or [0] for row in run.run(one)]
    keep(records, out / "real.json")
    write_text(out / "real.md", markdown_of(records))

    def shown(console: Console) -> None:
        for table in tables_of(records):
            table.print(console)

    show(records, json_, shown)
