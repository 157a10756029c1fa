"""``mnemotomy bench``: the measurements."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import one_line_errors
from mnemotomy_bench.cli.classwise import classwise
from mnemotomy_bench.cli.decouple import decouple
from mnemotomy_bench.cli.generative import generative
from mnemotomy_bench.cli.metabolism import metabolism
from mnemotomy_bench.cli.options import Json, show
from mnemotomy_bench.cli.pretrained import pretrained
from mnemotomy_bench.cli.real import real
from mnemotomy_bench.cli.store import store
from mnemotomy_bench.cli.tables import tables
from mnemotomy_bench.cli.tofu import tofu

bench = typer.Typer(no_args_is_help=True, help="Run the experiments, and measure time and memory.")


class Shapes(enum.StrEnum):
    """Which shapes are measured."""

    TINY = "tiny"
    ONE = "one"
    TEN = "ten"
    DEFICIENT = "deficient"
    BFLOAT16 = "bfloat16"


for _command in (real, metabolism, decouple, store, classwise, pretrained, generative, tables):
    bench.command()(_command)
bench.add_typer(tofu, name="tofu")


@bench.callback()
def _bench() -> None:
    """Run the experiments, and measure time and memory.

    \b
    Example:
      mnemotomy bench speed --scale tiny
    """


@bench.command()
@one_line_errors()
def speed(
    scale: Annotated[
        list[Shapes] | None, typer.Option(help="Shapes to measure; may be given more than once. Default: all but tiny.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A pretrained model to measure instead: one concept, and ten.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repetitions; medians are reported.")] = 3,
    out: Annotated[Path | None, typer.Option(help="A JSON file, updated after each case.")] = None,
    json_: Json = None,
) -> None:
    """Measure time and peak memory for one and for ten concepts, against the floor and ai-engram.

    \b
    Example:
      mnemotomy bench speed --out runs/bench/speed.json
      mnemotomy bench speed --scale tiny --repeats 1 --json -
      mnemotomy bench speed --model ./SmolLM2-135M-Instruct
    """
    from mnemotomy_bench.speed import cases, pretrained_cases, run_speed
    from mnemotomy_bench.speed.show import print_records

    scales = scale or ([] if model else [one for one in Shapes if one != Shapes.TINY])
    chosen = [case for one in scales for case in cases(one.value)] + (pretrained_cases(model) if model else [])
    records = run_speed(chosen, repeats=repeats, out=out)
    show(records, json_, lambda console: print_records(records, console))


@bench.command()
@one_line_errors()
def integrity(
    model: Annotated[
        Path | None, typer.Option(help="A pretrained model to load; default: a Llama with random weights.")
    ] = None,
    width: Annotated[int, typer.Option(min=16, help="Width of that Llama.")] = 1024,
    facts: Annotated[int, typer.Option(min=1, help="Facts in the store.")] = 100_000,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repetitions; medians are reported.")] = 15,
    cold: Annotated[bool, typer.Option(help="Read from the disk; default: from the system's cache.")] = False,
    json_: Json = None,
) -> None:
    """Measure what checking an artifact against the hash of its content adds to loading it.

    \b
    Example:
      mnemotomy bench integrity --json runs/bench/integrity.json
      mnemotomy bench integrity --width 64 --facts 100 --repeats 1
    """
    from mnemotomy_bench.speed.integrity import print_integrity, run_integrity

    records = run_integrity(width=width, facts=facts, repeats=repeats, model=model, cold=cold)
    show(records, json_, lambda console: print_integrity(records, console))
