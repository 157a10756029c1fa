"""``mnemotomy bench pretrained``: a pretrained image classifier without each group of its classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import one_line_errors
from mnemotomy_bench.cli.options import Device, Json, Out, keep, show


@one_line_errors()
def pretrained(
    model: Annotated[str, typer.Argument(help="A local folder, a hub id, or efficientnet-lite0.")],
    data: Annotated[
        str, typer.Option(help="A folder of parquet files or a hub id, with the model's classes or --classes.")
    ],
    train: Annotated[str, typer.Option(help="The split for extracting engrams, or a part of it.")] = "train[:2%]",
    test: Annotated[str, typer.Option(help="The split for measuring accuracies, or a part of it.")] = "validation",
    group: Annotated[int, typer.Option(min=1, help="Classes erased together: neighbours by number.")] = 20,
    kinds: Annotated[
        str | None, typer.Option(help="Layers by name, such as q_proj,k_proj,v_proj; default: all linear layers.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Which of the model's classes each of the data's is: cifar10, or a YAML file.")
    ] = None,
    most: Annotated[
        tuple[int, int], typer.Option(min=1, help="With --classes: images of each, for engrams and for measuring.")
    ] = (200, 50),
    rows: Annotated[
        int | None, typer.Option(min=1, help="Receptive fields of each image at a convolution; default: all.")
    ] = None,
    automatic: Annotated[bool, typer.Option("--automatic", help="Also erase by engram-automatic.")] = False,
    forget: Annotated[
        list[str] | None,
        typer.Option(metavar="GROUP", help="Search with 'forget' for this group alone instead; may be repeated."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="With --forget: candidates to try.")] = 24,
    batch: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 128,
    device: Device = "cpu",
    out: Out = Path("runs/bench/pretrained"),
    json_: Json = None,
) -> None:
    """Erase each group of classes from a pretrained image classifier, and measure the accuracy on every group.

    \b
    Example:
      mnemotomy bench pretrained google/vit-base-patch16-224 --data ILSVRC/imagenet-1k --device cuda
      mnemotomy bench pretrained my-vit/ --data cifar10/ --train train --test test --group 2
      mnemotomy bench pretrained efficientnet-lite0 --data cifar10/ --classes cifar10 --test test --kinds all
      mnemotomy bench pretrained efficientnet-lite0 --data cifar10/ --classes cifar10 --test test --forget dog
    """
    from mnemotomy.report.figures import accuracy_heatmap
    from mnemotomy_bench.classwise.group_tables import forget_table
    from mnemotomy_bench.classwise.pretrained import Plan, run_pretrained
    from mnemotomy_bench.classwise.pretrained_forget import run_forget

    names = None if kinds is None else tuple(name.strip() for name in kinds.split(","))
    plan = Plan(data, train, test, group, names, batch, classes, most, rows, automatic)
    if forget:
        found = run_forget(out, model, plan, forget, trials=trials, device=device)
        keep(found, out / "forget.json")
        show(found, json_, forget_table(found).print)
        return
    record = run_pretrained(out, model, plan, device=device)
    keep(record, out / "pretrained.json")
    accuracy_heatmap(record["matrices"], record["groups"], out / "matrices.png", record["before"])
    lines = [
        f"{title}: accuracy on an erased group {100 * found['erased_mean']:.1f} % "
        f"(worst {100 * found['erased_worst']:.1f} %); the others lose {100 * found['others_lost_mean']:.1f} points"
        for title, found in record["summary"].items()
    ]
    show(record, json_, lambda console: console.print("\n".join(lines)))
