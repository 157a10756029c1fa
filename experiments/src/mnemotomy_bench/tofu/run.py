"""The runs on TOFU: methods × configurations × seeds on one pair, every cell cached by its content."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from mnemotomy.core.errors import ConfigurationError, DataError, MnemotomyError, ModelError, SelectionError
from mnemotomy.core.precision import resolved
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.version import versions
from mnemotomy.methods.base import Scale
from mnemotomy.methods.language.problem import LanguageMethod
from mnemotomy.methods.registry import method_named, methods
from mnemotomy.observe.questions import Observed
from mnemotomy_bench.lab.resources import single_threaded
from mnemotomy_bench.lab.seeds import numbers, over_seeds
from mnemotomy_bench.tofu.attacks import Attacks, attacked
from mnemotomy_bench.tofu.cells import (
    evaluated_cell,
    flops_cell,
    remove_model,
    row,
    subject_key,
    treated_cell,
    validated_cell,
)
from mnemotomy_bench.tofu.grids import as_written_now, configurations
from mnemotomy_bench.tofu.records import Evaluated, Searched, Titled, TofuRecord
from mnemotomy_bench.tofu.sharing import Sharing
from mnemotomy_bench.tofu.subject import Subject
from mnemotomy_bench.tofu.validation import AS_IN_THE_PAPER, SELECTION

FULL, RETAIN = "full", "retain"
BASELINES = {FULL: "Init Fine.", RETAIN: "Retain"}
UNSUITABLE = (ConfigurationError, SelectionError, ModelError, DataError)
"""Errors of a method that cannot work with a model or its texts."""


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        methods: by name, with the configurations that are searched; all methods by default.
        scale: of the methods' search spaces.
        seeds: of methods that draw at random; the search uses the first. Others run once.
        chosen: configurations in place of a search, by method: records of a run on another pair.
        attacks: None for none.
        flops: whether to count operations, in runs of their own.
        as_in_the_paper: choose by Overall on the test metrics; records then say so.
    """

    methods: Mapping[str, Sequence[LanguageMethod]] | Sequence[str] = ()
    scale: Scale = "small"
    seeds: Sequence[int] = (0, 1, 2)
    chosen: Sequence[TofuRecord] = ()
    attacks: Attacks | None = field(default_factory=Attacks)
    flops: bool = True
    as_in_the_paper: bool = False

    def grid(self) -> dict[str, tuple[LanguageMethod, ...]]:
        """By method, what is searched.

        Raises:
            ConfigurationError: there is no such method, or a configuration chosen elsewhere is in no grid.
        """
        if isinstance(self.methods, Mapping):
            grid = {name: tuple(some) for name, some in self.methods.items()}
        else:
            kinds = methods("language models")
            named = [method_named("language models", name).name for name in self.methods] or kinds
            grid = {name: configurations(kind, self.scale) for name, kind in kinds.items() if name in named}
        for record in self.chosen:
            if record["method"] in grid and "configuration" in record:  # otherwise it was skipped there
                found = [one for one in grid[record["method"]] if repr(one) == as_written_now(record["configuration"])]
                if not found:
                    raise ConfigurationError(
                        f"the configuration {record['configuration']} is in no grid of {record['method']}; use "
                        "the scale at which it was chosen"
                    )
                grid[record["method"]] = (found[0],)
        return grid


def run_tofu(subject: Subject, plan: Plan | None = None) -> list[TofuRecord]:
    """One record per method, the pair's own models first: the columns of Table 6, cost, and attacks.

    Numbers are means over the seeds; ``…_spread`` is the standard deviation. ``selection`` says on what the
    configuration was chosen.

    Args:
        subject: the pair, its texts, and the folder of all results; finished results are reused.
        plan: methods, grids and seeds.

    Raises:
        ConfigurationError: there is no such method.
        DataError, ModelError: data or models are missing or do not fit. A single method that does not fit is skipped.
    """
    plan = plan or Plan()
    grid, pair = plan.grid(), subject.pair
    threads = single_threaded() if pair.device == "cpu" else contextlib.nullcontext()
    with threads, progress_bar("tofu", 2 + sum(map(len, grid.values()))) as advance:
        records = []
        for name, observed in ((FULL, subject.full), (RETAIN, subject.retain)):
            records.append(_baseline(subject, plan, name, observed))
            advance(1, name)
        refused: list[MnemotomyError] = []
        for name, some in grid.items():
            try:
                if "pretrained" in some[0].needs and pair.pretrained is None:
                    raise ConfigurationError("the pair has no pretrained model; give one with --pretrained")
                records.append(method_record(subject, plan, some))
            except UNSUITABLE as error:
                refused.append(error)
                records.append(_left_out(subject, some[0], str(error)))
            advance(len(some), name)
        if refused and len(refused) == len(grid):
            raise refused[0]
    return records


def method_record(subject: Subject, plan: Plan, some: Sequence[LanguageMethod]) -> TofuRecord:
    """Search ``some`` configurations of a method, and run the chosen one on every seed."""
    first = plan.seeds[0]
    sharing = Sharing(subject.problem(first))
    searched: list[Searched] = []
    if len(some) > 1:
        choose = evaluated_cell if plan.as_in_the_paper else validated_cell
        searched = [_searched(subject, one, first, sharing, choose) for one in some]
    best = max(range(len(some)), key=lambda place: searched[place]["chosen_by"]) if searched else 0
    method = some[best]
    for one in some:
        if one is not method:
            remove_model(subject, one, first)
    cells = [evaluated_cell(subject, method, seed) for seed in (plan.seeds if method.draws else plan.seeds[:1])]
    titled = _titled(subject, method.name, method.title)
    record: dict[str, Any] = {**titled, "family": method.family, "paper": method.paper}
    whole = [cell for cell in cells if not cell["failed"]]
    record |= summarised(whole)
    if plan.attacks is not None and whole:
        treated_cell(subject, method, first)  # made again if it was removed
        observed = subject.pair.observed(str(subject.out / "treated" / whole[0]["folder"]))
        record |= attacked(subject, observed, plan.attacks)
    if plan.flops:
        record["flops"] = flops_cell(subject, method)
    return cast(TofuRecord, record | {
        "config": cells[0]["config"],
        "configuration": repr(method),
        "selection": _selection(plan, method, some),
        "searched": searched,
        "seeds": [cell["seed"] for cell in whole],
        "failed": [{"seed": cell["seed"], "why": cell["failed"]} for cell in cells if cell["failed"]],
        "versions": versions(),
    })  # fmt: skip


def summarised(cells: Sequence[Evaluated]) -> dict[str, Any]:
    """The mean of every number over the seeds, ``…_spread`` if there are several, and the same for ``raw``."""
    if not cells:
        return {}
    raw = [cell["raw"] for cell in cells]
    return over_seeds(cells, numbers(cells[0])) | {"raw": {key: over_seeds(raw, [key])[key] for key in raw[0]}}


def _baseline(subject: Subject, plan: Plan, name: str, observed: Observed) -> TofuRecord:
    record: dict[str, Any] = {**_titled(subject, name, BASELINES[name]), **row(subject, subject.evaluation(observed))}
    if plan.attacks is not None:
        record |= attacked(subject, observed, plan.attacks)
    rest = {"family": "baseline", "selection": "none", "seeds": [], "failed": [], "versions": versions()}
    return cast(TofuRecord, record | rest)


def _searched(subject: Subject, method: LanguageMethod, seed: int, sharing: Sharing, choose: Any) -> Searched:
    if choose is validated_cell:
        cell = validated_cell(subject, method, seed, sharing)
        return {
            "config": cell["config"], "chosen_by": cell["score"], "score": cell["score"],
            "forgetting": cell.get("forgetting"), "utility": cell.get("utility"), "privacy": cell.get("privacy"),
            "failed": cell["failed"],
        }  # fmt: skip
    done = evaluated_cell(subject, method, seed)
    return {"config": done["config"], "chosen_by": done.get("overall") or 0.0, "failed": done["failed"]}


def _selection(plan: Plan, method: LanguageMethod, some: Sequence[LanguageMethod]) -> str:
    for record in plan.chosen:
        if record["method"] == method.name and "configuration" in record:
            return f"chosen on the pair {record['pair']!r}, by: {record['selection']}"
    if len(some) == 1:
        return "none: one configuration"
    return AS_IN_THE_PAPER if plan.as_in_the_paper else SELECTION


def _left_out(subject: Subject, method: LanguageMethod, why: str) -> TofuRecord:
    """The record of a method that does not fit the pair or its texts."""
    rest: dict[str, Any] = {"family": method.family, "selection": "none", "searched": [], "seeds": []}
    failed = [{"seed": None, "why": why}]
    return cast(TofuRecord, {**_titled(subject, method.name, method.title), **rest, "failed": failed})


def _titled(subject: Subject, name: str, title: str) -> Titled:
    precision = resolved(subject.asking.precision, torch.device(subject.pair.device))
    return {"method": name, "title": title, "pair": subject.pair.name, "forget": subject.texts.forget,
            "precision": precision, "subject": subject_key(subject)}  # fmt: skip
