"""``mnemotomy bench tofu``: unlearning of language models on TOFU, its tables and figures, and pairs to run it on."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from mnemotomy.cli.options import LARGEST_SEED, Precise, PrecisionName
from mnemotomy.cli.outcome import emit_json, one_line_errors
from mnemotomy.core.files import write_text
from mnemotomy.text.template import check_template
from mnemotomy_bench.cli.tofu_options import (
    DEFAULT_OUT,
    RECORDS,
    Data,
    Device,
    Forget,
    Full,
    Gold,
    Json,
    Judge,
    Models,
    NewTokens,
    Out,
    Pretrained,
    Tags,
    asking_of,
    check_same_subject,
    closed_form_of,
    pair_of,
    records_of,
    records_so_far,
    subject_of,
)
from mnemotomy_bench.cli.tofu_pair import prepare, speed

tofu = typer.Typer(no_args_is_help=True, help="Unlearning of language models on TOFU.", rich_markup_mode=None)


class Scale(enum.StrEnum):
    """Whose grids are searched."""

    SMALL = "small"
    PAPER = "paper"


class TableName(enum.StrEnum):
    """Which table is printed."""

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
def run(
    models: Models = None,
    full: Full = None,
    gold: Gold = None,
    pretrained: Pretrained = None,
    data: Data = None,
    forget: Forget = "forget10",
    method: Annotated[list[str] | None, typer.Option(help="A method by its name; all by default; repeatable.")] = None,
    seed: Annotated[
        list[int] | None, typer.Option(min=0, max=LARGEST_SEED, help="0, 1 and 2 by default; may be repeated.")
    ] = None,
    scale: Annotated[Scale, typer.Option(help="Of the grids: for millions of parameters, or for a billion.")] = (
        Scale.SMALL
    ),
    chosen: Annotated[
        Path | None, typer.Option(help="Records of a run on another pair, whose configurations are taken over.")
    ] = None,
    as_in_the_paper: Annotated[
        bool, typer.Option(help="Choose configurations by Overall on the test metrics; records then say so.")
    ] = False,
    attacks: Annotated[bool, typer.Option(help="Whether every model is attacked afterwards.")] = True,
    flops: Annotated[bool, typer.Option(help="Whether operations are counted, in runs of their own.")] = True,
    fluency: Judge = None,
    max_new_tokens: NewTokens = 200,
    precision: Precise = PrecisionName.NO,
    name: Annotated[str | None, typer.Option(help="Of the pair, in records.")] = None,
    device: Device = "cpu",
    tags: Tags = False,
    out: Out = DEFAULT_OUT,
    json_: Json = None,
) -> None:
    """Every method on a pair: forgotten, kept, told apart, what it took, and after attacks (Tables 3, 4, 6, 7).

    Configurations are chosen on training questions and unseen authors, without the gold model. With --method, the
    records of other methods on the same pair stay as they are.

    \b
    Example:
      mnemotomy bench tofu run --models ../shared/models/tofu-tiny
      mnemotomy bench tofu run --full full --gold retain90 --method npo --method engram-projector --json -
      mnemotomy bench tofu run --full full2 --gold retain2 --chosen runs/bench/tofu/tofu.json --out runs/second
    """
    import json

    from rich.console import Console

    from mnemotomy_bench.tofu.attacks import Attacks
    from mnemotomy_bench.tofu.run import Plan, run_tofu
    from mnemotomy_bench.tofu.show import joined, write_tables
    from mnemotomy_bench.tofu.table import table_of

    pair = pair_of(models, full, gold, pretrained, forget, device, name)
    check_template(pair.tokenizer, pair.full, tags)
    subject = subject_of(pair, data, forget, out, fluency, asking_of(max_new_tokens, precision))
    plan = Plan(
        methods=method or (),
        scale=scale.value,
        seeds=seed or (0, 1, 2),
        chosen=records_of(chosen) if chosen else (),
        attacks=Attacks() if attacks else None,
        flops=flops,
        as_in_the_paper=as_in_the_paper,
    )
    check_same_subject(records_so_far(out), subject, out)
    records = run_tofu(subject, plan)
    if method:  # read again: another process may have run other methods meanwhile
        records = joined(records, records_so_far(out))
    write_text(out / RECORDS, json.dumps(records, indent=1))
    write_tables(records, out)
    for one in records:
        for failed in one.get("failed", []):
            typer.echo(f"mnemotomy: {one['method']} failed: {failed['why']}", err=True)
    if json_ is not None:
        emit_json(records, json_)
    if json_ != "-":
        for table in ("6", "7", "attacks"):
            table_of(records, table).print(Console())


@tofu.command()
@one_line_errors()
def table(
    which: Annotated[TableName, typer.Argument(help="The paper's number, attacks, or reference.")],
    models: Models = None,
    full: Full = None,
    gold: Gold = None,
    pretrained: Pretrained = None,
    data: Data = None,
    forget: Forget = "forget10",
    method: Annotated[
        str | None,
        typer.Option(help="For 8, 9 and reference: a closed form that 'run' has chosen a configuration of."),
    ] = None,
    fluency: Judge = None,
    max_new_tokens: NewTokens = 200,
    precision: Precise = PrecisionName.NO,
    device: Device = "cpu",
    tags: Tags = False,
    out: Annotated[Path, typer.Option(help="The folder of 'run'.")] = DEFAULT_OUT,
    json_: Json = None,
) -> None:
    """A table of the paper from what was run; 8, 9 and reference are run here.

    ``reference`` runs closed forms again, as they were chosen, with 2,000 texts of the model's own in place of the
    retain set.

    \b
    Example:
      mnemotomy bench tofu table 4
      mnemotomy bench tofu table 8 --models ../shared/models/tofu-tiny
    """
    from rich.console import Console

    from mnemotomy_bench.tofu.references import compared, run_references
    from mnemotomy_bench.tofu.show import write_references, write_sweep, write_tables
    from mnemotomy_bench.tofu.sweeps import run_sweep
    from mnemotomy_bench.tofu.table import columns, table_of

    if which in (TableName.EIGHT, TableName.NINE):
        pair = pair_of(models, full, gold, pretrained, forget, device)
        check_template(pair.tokenizer, pair.full, tags)
        subject = subject_of(pair, data, forget, out, fluency, asking_of(max_new_tokens, precision))
        base = closed_form_of(out, method)
        records = []
        for sweep in ("kinds", "blocks") if which == TableName.EIGHT else ("instantiations",):
            found = run_sweep(subject, sweep, base)
            write_sweep(found, out)
            records += found
    elif which == TableName.REFERENCE:
        pair = pair_of(models, full, gold, pretrained, forget, device)
        check_template(pair.tokenizer, pair.full, tags)
        subject = subject_of(pair, data, forget, out, fluency, asking_of(max_new_tokens, precision))
        records = run_references(subject, compared(records_of(out / RECORDS), method))
        write_references(records, out)
    else:
        records = records_of(out / RECORDS)
        write_tables(records, out)
    if json_ is not None:
        emit_json(columns(records, which.value), json_)
    if json_ != "-":
        table_of(records, which.value).print(Console())


@tofu.command()
@one_line_errors()
def figure(
    models: Models = None,
    full: Full = None,
    gold: Gold = None,
    pretrained: Pretrained = None,
    data: Data = None,
    forget: Forget = "forget10",
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="strengths, cuts, filters or variants; the first three by default; repeatable."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="The closed form that is swept, as 'run' has chosen it; the paper's by default.")
    ] = None,
    fluency: Judge = None,
    max_new_tokens: NewTokens = 200,
    precision: Precise = PrecisionName.NO,
    device: Device = "cpu",
    tags: Tags = False,
    out: Annotated[Path, typer.Option(help="The folder of 'run'.")] = DEFAULT_OUT,
    json_: Json = None,
) -> None:
    """The sweeps, the heatmap of weight norms (Fig. 9), and forgetting against utility from what was run.

    \b
    Example:
      mnemotomy bench tofu figure --models ../shared/models/tofu-tiny
      mnemotomy bench tofu figure --full full --gold retain90 --sweep cuts --json -
    """
    from mnemotomy_bench.tofu.show import write_figures, write_sweep
    from mnemotomy_bench.tofu.sweeps import run_sweep, weight_norms

    pair = pair_of(models, full, gold, pretrained, forget, device)
    check_template(pair.tokenizer, pair.full, tags)
    subject = subject_of(pair, data, forget, out, fluency, asking_of(max_new_tokens, precision))
    base = closed_form_of(out, method)
    records: list[dict[str, Any]] = []
    for name in sweep or ("strengths", "cuts", "filters"):
        found = run_sweep(subject, name, base)
        write_sweep(found, out)
        records += found
    write_figures(records_so_far(out), weight_norms(subject), out)
    if json_ is not None:
        emit_json(records, json_)
    if json_ != "-":
        typer.echo(f"figures are in {out}")


tofu.command()(prepare)
tofu.command()(speed)
