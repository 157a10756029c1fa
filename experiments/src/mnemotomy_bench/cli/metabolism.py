"""``mnemotomy bench metabolism``: RLCP, its baselines and ablations, and the variants that work."""

from __future__ import annotations

import os
from pathlib import Path

from mnemotomy.cli.outcome import one_line_errors
from mnemotomy_bench.cli.options import Facts, FactScale, Figures, Json, Model, Only, Out, Seeds, keep, show


@one_line_errors()
def metabolism(
    scale: Facts = FactScale.SMALL,
    model: Model = None,
    out: Out = Path("runs/bench/metabolism"),
    seed: Seeds = None,
    only: Only = None,
    figures: Figures = True,
    json_: Json = None,
) -> None:
    """Remove 15 facts from a model with every configuration, and measure what it recalls, reads and keeps.

    \b
    Example:
      mnemotomy bench metabolism --scale tiny
      mnemotomy bench metabolism --json - --only "A original" --only "RLCP stable"
      mnemotomy bench metabolism --model Qwen/Qwen2.5-0.5B-Instruct --scale full
    """
    from mnemotomy_bench.metabolism.configurations import explained, plan_of
    from mnemotomy_bench.metabolism.run import run_mechanism, run_metabolism
    from mnemotomy_bench.metabolism.show import table_of, write_figures

    records = run_metabolism(out, scale=scale.value, model=model, seeds=seed, only=only or ())
    keep(records, out / "metabolism.json")
    if figures:
        shown = [record["configuration"] for record in records]
        names = [name for name in explained(scale.value) if name in shown]
        data = Path(os.environ["MNEMOTOMY_DATA"]) if "MNEMOTOMY_DATA" in os.environ else None
        first = (seed or plan_of(scale.value).seeds)[0]
        mechanism = run_mechanism(out, names=names, scale=scale.value, seed=first, model=model, data=data)
        keep(mechanism, out / "mechanism.json")
        write_figures(records, mechanism, out)
    show(records, json_, table_of(records).print)
