"""``mnemotomy bench real``: facts forgotten by pretrained models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnemotomy.cli.outcome import one_line_errors
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.files import write_text
from mnemotomy_bench.cli.options import Json, Seeds, keep, show

if TYPE_CHECKING:
    from rich.console import Console


@one_line_errors()
def real(
    models: Annotated[list[str], typer.Argument(help="Folders or hub ids of pretrained causal language models.")],
    out: Annotated[Path, typer.Option(help="For results; finished ones are reused.")] = Path("runs/bench/real"),
    only: Annotated[
        list[str] | None,
        typer.Option(help="country, city, fifteen, relation, sequence, references or costs; may be repeated."),
    ] = None,
    texts: Annotated[int, typer.Option(min=0, help="Problems of GSM8K for the perplexity, where the data exist.")] = 6,
    seed: Seeds = None,
    json_: Json = None,
) -> None:
    """Forget facts that pretrained models know: every one-sided form, chosen by validation, measured on unseen prompts.

    Only facts that a model says in five of seven phrasings are used. Nothing that is reported was in the moments or in
    the validation, but for the column 'target'. A model with wide inputs has its attention edited alone.

    \b
    Example:
      mnemotomy bench real smollm2 qwen
      mnemotomy bench real smollm2 --only country --seed 0
    """
    from mnemotomy_bench.real import plan
    from mnemotomy_bench.real.run import RealRun
    from mnemotomy_bench.real.show import markdown_of, probes_by_block, tables_of
    from mnemotomy_bench.real.texts import problems

    names = list(dict.fromkeys(name for name, _ in plan.PLAN))
    for name in only or []:
        if name not in names:
            raise ConfigurationError(f"--only {name!r} is not a part of this bench; choose among {', '.join(names)}")
    records = []
    for run in (RealRun(model, out, problems(texts)) for model in models):
        for name, seeds in plan.PLAN:
            if only is None or name in only:
                records += [row for one in seeds if not seed or one in seed for row in plan.records(run, name, one)]
    keep(records, out / "real.json")
    write_text(out / "real.md", markdown_of(records))
    probes_by_block(records, out / "real-probes.png")

    def shown(console: Console) -> None:
        for table in tables_of(records):
            table.print(console)

    show(records, json_, shown)
