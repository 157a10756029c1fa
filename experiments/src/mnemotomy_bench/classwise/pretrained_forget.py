"""``forget`` on groups of a pretrained classifier's classes: what it leaves of each, and what the others lose."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.version import versions
from mnemotomy.forget.forgetting import forget
from mnemotomy.forget.options import ForgetOptions
from mnemotomy_bench.classwise.image_classifier import Classifier
from mnemotomy_bench.classwise.pretrained import GroupRows, Plan
from mnemotomy_bench.classwise.records import ForgetRecord
from mnemotomy_bench.lab.cells import Record

_KEPT = ("chosen", "reason", "scores", "taken for", "concerns", "notes", "counts", "settings", "seconds")
"""Of the record of a search."""


def run_forget(
    out_dir: Path, name: str, plan: Plan, groups: Sequence[str], *, trials: int, device: str = "cpu"
) -> ForgetRecord:
    """Each of these groups forgotten by ``forget``: the accuracy on each group afterwards.

    ``forget`` sees training images alone, by the model's own classes; accuracies are those of the test images.

    Args:
        out_dir: for rows; finished ones are reused.
        name: of the model, as `Classifier` takes it.
        plan: data and groups; its layers and receptive fields play no part.
        groups: to forget, each alone.
        trials: of each search.
        device: where the model runs.

    Raises:
        ConfigurationError: there is no such group.
        MnemotomyError: as for ``run_pretrained``.
    """
    run = GroupRows(out_dir, Classifier(name, device, out_dir), plan)
    if unknown := [group for group in groups if group not in run.groups]:
        raise ConfigurationError(f"there is no group {unknown[0]!r} to forget; choose among {', '.join(run.groups)}")
    before = run.cell("before", lambda: {"found": run.by_group()})["found"]
    rows = {
        group: run.cell(f"{group}, forget, {trials} trials", functools.partial(_row, run, group, trials))
        for group in groups
    }
    return cast(ForgetRecord, {
        "model": name,
        **asdict(plan),
        "trials": trials,
        "images": {"train": len(run.train), "test": len(run.test)},
        "groups": list(run.groups),
        "before": before,
        "forgotten": rows,
        "versions": versions(),
    })  # fmt: skip


def _row(run: GroupRows, group: str, trials: int) -> Record:
    model = run.classifier.model
    found = forget(model, None, *run.sets(group), ForgetOptions(trials=trials))
    with found.edit.on(model, check=False):
        accuracies = run.by_group()
    return {"found": accuracies, **{name: found.record[name] for name in _KEPT if name in found.record}}
