"""``mnemotomy bench tofu``: unlearning of language models on TOFU, its tables and figures, and pairs to run it on."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemotomy.cli.options import LARGEST_SEED
from mnemotomy.cli.outcome import one_line_errors
from mnemotomy_bench.cli.options import Json, Out, keep, show
from mnemotomy_bench.cli.tofu_options import (
    DEFAULT_OUT,
    RECORDS,
    Subjects,
    check_same_subject,
    closed_form_of,
    records_of,
    records_so_far,
    with_pair,
)
from mnemotomy_bench.cli.tofu_pair import prepare, speed, subset

if TYPE_CHECKING:
    from rich.console import Console

tofu = typer.Typer(no_args_is_help=True, help="Unlearning of language models on TOFU.", rich_markup_mode=None)


class Scale(enum.StrEnum):
    """Which grids are searched."""

    SMALL = "small"
    PAPER = "paper"


class TableName(enum.StrEnum):
    """The tables."""

    THREE = "3"
    FOUR = "4"
    SIX = "6"
    SEVEN = "7"
    EIGHT = "8"
    NINE = "9"
    ATTACKS = "attacks"
    REFERENCE = "reference"


@tofu.command()
@one_line_errors()
@with_pair
def run(
    method: Annotated[list[str] | None, typer.Option(help="A method by name; default: all; may be repeated.")] = None,
    seed: Annotated[
        list[int] | None, typer.Option(min=0, max=LARGEST_SEED, help="Default: 0, 1 and 2; may be repeated.")
    ] = None,
    scale: Annotated[Scale, typer.Option(help="Grids for millions of parameters, or for a billion.")] = (Scale.SMALL),
    chosen: Annotated[
        Path | None, typer.Option(help="Records of a run on another pair, whose configurations are reused.")
    ] = None,
    as_in_the_paper: Annotated[
        bool, typer.Option(help="Choose configurations by Overall on the test metrics; records say so.")
    ] = False,
    attacks: Annotated[bool, typer.Option(help="Attack every model afterwards.")] = True,
    flops: Annotated[bool, typer.Option(help="Count operations, in separate runs.")] = True,
    out: Out = DEFAULT_OUT,
    json_: Json = None,
    *,
    subject: Subjects,
) -> None:
    """Run every method on a pair: forgetting, utility, privacy, cost and attacks (Tables 3, 4, 6, 7).

    Configurations are chosen on training questions and unseen authors, without the gold model. With --method, the
    records of other methods on the same pair are kept.

    \b
    Example:
      mnemotomy bench tofu run --models ../shared/models/tofu-tiny
      mnemotomy bench tofu run --full full --gold retain90 --method npo --method engram-projector --json -
      mnemotomy bench tofu run --full full2 --gold retain2 --chosen runs/bench/tofu/tofu.json --out runs/second
    """
    from mnemotomy_bench.tofu.attacks import Attacks
    from mnemotomy_bench.tofu.run import Plan, run_tofu
    from mnemotomy_bench.tofu.show import joined, write_tables
    from mnemotomy_bench.tofu.table import table_of

    made = subject()
    plan = Plan(
        methods=method or (),
        scale=scale.value,
        seeds=seed or (0, 1, 2),
        chosen=records_of(chosen) if chosen else (),
        attacks=Attacks() if attacks else None,
        flops=flops,
        as_in_the_paper=as_in_the_paper,
    )
    check_same_subject(records_so_far(out), made, out)
    records = run_tofu(made, plan)
    if method:  # read again: another process may have run other methods meanwhile
        records = joined(records, records_so_far(out))
    keep(records, out / RECORDS)
    write_tables(records, out)
    for one in records:
        for failed in one.get("failed", []):
            typer.echo(f"mnemotomy: {one['method']} failed: {failed['why']}", err=True)

    def tables(console: Console) -> None:
        for one in ("6", "7", "attacks"):
            table_of(records, one).print(console)

    show(records, json_, tables)


@tofu.command()
@one_line_errors()
@with_pair
def table(
    which: Annotated[TableName, typer.Argument(help="The table's number in the paper, attacks, or reference.")],
    method: Annotated[
        str | None,
        typer.Option(help="For 8, 9 and reference: a closed form whose configuration 'run' has chosen."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of 'run'.")] = DEFAULT_OUT,
    json_: Json = None,
    *,
    subject: Subjects,
) -> None:
    """Print a table of the paper from the records of 'run'; 8, 9 and reference are run here.

    ``reference`` runs the chosen closed forms again, with 2,000 texts that the model writes in place of the retain set.

    \b
    Example:
      mnemotomy bench tofu table 4
      mnemotomy bench tofu table 8 --models ../shared/models/tofu-tiny
    """
    from mnemotomy_bench.tofu.references import compared, run_references
    from mnemotomy_bench.tofu.show import write_references, write_sweep, write_tables
    from mnemotomy_bench.tofu.sweeps import run_sweep
    from mnemotomy_bench.tofu.table import columns, table_of

    if which in (TableName.EIGHT, TableName.NINE):
        made, base = subject(), closed_form_of(out, method)
        records: Sequence[Mapping[str, Any]] = []
        for sweep in ("kinds", "blocks") if which == TableName.EIGHT else ("instantiations",):
            found = run_sweep(made, sweep, base)
            write_sweep(found, out)
            records = [*records, *found]
    elif which == TableName.REFERENCE:
        records = run_references(subject(), compared(records_of(out / RECORDS), method))
        write_references(records, out)
    else:
        records = records_of(out / RECORDS)
        write_tables(records, out)
    show(columns(records, which.value), json_, table_of(records, which.value).print)


@tofu.command()
@one_line_errors()
@with_pair
def figure(
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="strengths, cuts, filters or variants; default: the first three; may be repeated."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="The closed form to sweep, as 'run' has chosen it; default: the paper's.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of 'run'.")] = DEFAULT_OUT,
    json_: Json = None,
    *,
    subject: Subjects,
) -> None:
    """Draw the sweeps, the weight norms of Figure 9, and forgetting against utility from the records of 'run'.

    \b
    Example:
      mnemotomy bench tofu figure --models ../shared/models/tofu-tiny
      mnemotomy bench tofu figure --full full --gold retain90 --sweep cuts --json -
    """
    from mnemotomy_bench.tofu.records import Swept
    from mnemotomy_bench.tofu.show import write_figures, write_sweep
    from mnemotomy_bench.tofu.sweeps import run_sweep, weight_norms

    made = subject()
    base = closed_form_of(out, method)
    records: list[Swept] = []
    for name in sweep or ("strengths", "cuts", "filters"):
        found = run_sweep(made, name, base)
        write_sweep(found, out)
        records += found
    write_figures(records_so_far(out), weight_norms(made), out)
    show(records, json_, lambda _: typer.echo(f"figures written to {out}"))


tofu.command()(subset)
tofu.command()(prepare)
tofu.command()(speed)
