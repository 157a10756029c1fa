"""``mnemotomy bench tofu subset``, ``prepare`` and ``speed``: data and models of a pair, and timing its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.options import LARGEST_SEED, Precise, PrecisionName
from mnemotomy.cli.outcome import one_line_errors
from mnemotomy.cli.templates import Tags
from mnemotomy.core.errors import DataError
from mnemotomy.text.template import check_template
from mnemotomy_bench.cli.options import Device, Json, show
from mnemotomy_bench.cli.tofu_options import Data, Forget


@one_line_errors()
def subset(
    folder: Annotated[Path, typer.Argument(help="Where to write the splits.")],
    authors: Annotated[int, typer.Option(min=10, help="Of the 200, a multiple of 10; the last tenth is forgotten.")],
    data: Data = None,
) -> None:
    """Write TOFU with fewer authors, for a base model that is too large to learn all of it on this machine.

    The folder is --data of 'prepare' and 'run', with forget10.

    \b
    Example:
      mnemotomy bench tofu subset tofu50 --authors 50
      mnemotomy bench tofu prepare pair --base smollm2 --data tofu50 --epochs 5 --learning-rate 1e-4
      mnemotomy bench tofu run --models pair --pretrained smollm2 --data tofu50
    """
    from mnemotomy_bench.tofu.subset import write_subset
    from mnemotomy_bench.tofu.texts import default_source

    lines = write_subset(folder, data or default_source(), authors)
    typer.echo(f"{folder}: " + ", ".join(f"{count} {name}" for name, count in lines.items()))


@one_line_errors()
def prepare(
    out_dir: Annotated[Path, typer.Argument(help="Where to write full, retain90 and, if one is made, base.")],
    base: Annotated[str | None, typer.Option(help="A folder or hub id; default: a small base is made.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer of a base that is made: a folder or hub id.")] = None,
    data: Data = None,
    forget: Forget = "forget10",
    only: Annotated[list[str] | None, typer.Option(help="full or retain, to train them in parallel.")] = None,
    hidden: Annotated[int, typer.Option(min=32, help="Width of a base that is made.")] = 512,
    layers: Annotated[int, typer.Option(min=1, help="Blocks of a base that is made.")] = 3,
    problems: Annotated[int | None, typer.Option(min=1, help="GSM8K problems to train it on; default: all.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs over TOFU.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW; large models need about 1e-5.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions per update.")] = 32,
    general: Annotated[int, typer.Option(min=0, help="Copies of real authors and world facts per epoch.")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of weights and order.")] = 0,
    device: Device = "cpu",
    precision: Precise = PrecisionName.AUTO,
    tags: Tags = False,
) -> None:
    """Fine-tune a pair from any base model: one model on all of TOFU, one without the forget set; on answers only.

    An interrupted run resumes from its last epoch.

    \b
    Example:
      mnemotomy bench tofu prepare pair --hidden 512 --layers 3 --tokenizer tofu-tiny/base --seed 1
      mnemotomy bench tofu prepare pair --base meta-llama/Llama-3.2-1B-Instruct --learning-rate 1e-5 --epochs 5
    """
    from mnemotomy.core.models import load_tokenizer
    from mnemotomy.core.sources import locate_model
    from mnemotomy_bench.tofu.prepare import FreshBase, Preparation, prepare_pair
    from mnemotomy_bench.tofu.texts import Texts, default_source

    fresh = None
    if base is None:
        if tokenizer is None:
            raise DataError("give --base, or --tokenizer to make a base")
        fresh = FreshBase(tokenizer=locate_model(tokenizer), hidden=hidden, layers=layers, problems=problems)
    source = locate_model(str(base or tokenizer))
    check_template(load_tokenizer(source), source, tags)
    settings = Preparation(epochs, learning_rate, batch_size, general, seed, device, precision.value)
    texts = Texts(data or default_source(), forget)
    made = prepare_pair(out_dir, texts, base=fresh or source, settings=settings, only=only or ())
    for name, folder in made.items():
        typer.echo(f"{name}: {folder}")


@one_line_errors()
def speed(
    model: Annotated[str, typer.Argument(help="A local folder or a hub id.")],
    data: Data = None,
    forget: Forget = "forget10",
    questions: Annotated[int, typer.Option(min=0, help="Questions of each split; 0 for all.")] = 100,
    batch_size: Annotated[int, typer.Option(min=1, help="The most rows in a batch, for both evaluations.")] = 32,
    repeats: Annotated[int, typer.Option(min=1, help="Repetitions; medians are reported.")] = 1,
    tags: Tags = False,
    json_: Json = None,
) -> None:
    """Time the evaluation of one model against a separate pass or generation for each metric; same numbers.

    \b
    Example:
      mnemotomy bench tofu speed ../shared/models/tofu-tiny/full --questions 50
    """
    from mnemotomy.core.models import load_tokenizer
    from mnemotomy.core.sources import locate_model
    from mnemotomy.observe.questions import Asking
    from mnemotomy_bench.tofu.speed import run_evaluation_speed
    from mnemotomy_bench.tofu.texts import Texts, default_source

    folder = locate_model(model)
    check_template(load_tokenizer(folder), folder, tags)
    texts = Texts(data or default_source(), forget)
    record = run_evaluation_speed(
        folder, texts, questions=questions or None, asking=Asking(batch_size=batch_size), repeats=repeats
    )
    once, apart = record["seconds"]["once"], record["seconds"]["per_metric"]
    lines = [
        f"observed once: {once:.1f} s; metric by metric: {apart:.1f} s; {record['ratio']:.1f} times faster",
        f"largest difference in an aggregate: {record['largest_difference']:.1e}",
    ]
    show(record, json_, lambda _: typer.echo("\n".join(lines)))
