"""The runs of the metabolism bench: seeds × configurations, each cell cached by content."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mnemotomy.core import keys
from mnemotomy.core.cells import json_cells
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
from mnemotomy.core.version import versions
from mnemotomy.metabolism.metabolize import Metabolized, metabolize
from mnemotomy.metabolism.rlcp import RLCP, described
from mnemotomy_bench.lab.resources import single_threaded
from mnemotomy_bench.lab.seeds import mean_tree, numbers, over_seeds
from mnemotomy_bench.metabolism.configurations import configurations, plan_of
from mnemotomy_bench.metabolism.measure import measure
from mnemotomy_bench.metabolism.mechanism import attention_map, energy, gradients, magnified, tsne
from mnemotomy_bench.metabolism.reasoning import has_problems, problems, reasoning
from mnemotomy_bench.metabolism.records import Cell, Mechanism, Summary, Trained
from mnemotomy_bench.metabolism.subject import Subject, subject_for

REASONING_PROBLEMS = 100


def run_metabolism(
    out_dir: Path,
    *,
    scale: str = "small",
    model: str | None = None,
    seeds: Sequence[int] | None = None,
    only: Sequence[str] = (),
) -> list[Summary]:
    """The records of every configuration: the mean over the seeds, and ``… spread`` for the standard deviation.

    Args:
        out_dir: for cells and models; finished results are reused.
        scale: ``tiny`` for one seed and a tenth of the work, ``small`` for this table, ``full`` for other models.
        model: a folder or hub id to use instead of the small world's model.
        seeds: override those of the scale.
        only: names of configurations to run; all by default.

    Raises:
        ConfigurationError: there is no such configuration.
    """
    known = configurations(scale, 0)
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ConfigurationError(f"there is no configuration {unknown[0]!r}; choose among {', '.join(known)}")
    cells: dict[str, list[Cell]] = {}
    with run_threads(model):
        for seed in seeds or plan_of(scale).seeds:
            subject = subject_for(model, seed, out_dir / "models")
            for name, config in configurations(scale, seed).items():
                if not only or name in only:
                    found = cell(out_dir, subject, name, config, seed, every_layer=every_layer(scale, model))
                    cells.setdefault(name, []).append(found)
    return [summary(name, found) for name, found in cells.items()]


def run_threads(model: str | None) -> AbstractContextManager[None]:
    """One thread for the small world, whose numbers must not depend on the machine; a pretrained model takes all."""
    return single_threaded() if model is None else nullcontext()


def every_layer(scale: str, model: str | None) -> bool:
    """Whether fresh probes read the layers before l* too: on thirty wide blocks they take longer than training."""
    return scale != "tiny" and model is None


def cell(
    out_dir: Path, subject: Subject, name: str, config: RLCP | None, seed: int, *, every_layer: bool = True
) -> Cell:
    """One configuration with one seed: read from the cache, or treated and measured."""
    model, tokenizer = subject.load()
    identity: dict[str, Any] = {
        "name": name,
        "config": described(config) if config else None,
        "model": fingerprint(model),
        "subject": subject.digest(),
        "versions": versions(),
    }
    if not every_layer:
        identity["layers"] = "from l* on"
    own = keys.key(identity)

    def run() -> Cell:
        treated, stopped, start = model, None, time.perf_counter()
        trained: Trained = {"adversarial_probe": None}
        if config is not None:
            spared = subject.neighbours if config.engram is not None and config.engram.subjects else ()
            result = metabolize(
                model, tokenizer, subject.facts, config, retain=subject.retain, neighbours=spared,
                format=subject.format, out=out_dir / "runs" / own,
            )  # fmt: skip
            treated, stopped, trained = result.model, result.stopped, _training(result)
            with quiet_transformers():
                result.save(out_dir / "treated" / own)
        seconds = time.perf_counter() - start
        record = measure(treated, tokenizer, subject, (config or RLCP()).layer, every_layer=every_layer)
        return {
            **record, **trained, "seconds": seconds, "stopped": stopped, "seed": seed, "name": name,
            "config": identity["config"], "versions": versions(), "key": own,
        }  # fmt: skip

    return cast(Cell, json_cells(out_dir / "cells").kept(own, lambda: dict(run())))


def _training(result: Metabolized) -> Trained:
    """What the steps of a training say."""
    steps = result.steps
    losses = [step["L_P"] for step in steps if step["epoch"] == steps[-1]["epoch"] and "L_P" in step]
    return {
        "adversarial_probe": result.probe_accuracy,
        "probe_loss": sum(losses) / len(losses) if losses else None,
        "gradient_norm": max(step["gradient_norm"] for step in steps),
    }


def summary(name: str, cells: Sequence[Cell]) -> Summary:
    """The mean and the spread of every number over the seeds."""
    means = over_seeds(cells, dict.fromkeys(key for one in cells for key in (*numbers(one), "adversarial_probe")))
    return cast(Summary, {
        "configuration": name,
        "seeds": [one["seed"] for one in cells],
        **means,
        "layers": mean_tree([one["layers"] for one in cells]),
        "stopped": [one["stopped"] for one in cells if one["stopped"]],
        "config": cells[0]["config"],
        "versions": cells[0]["versions"],
    })  # fmt: skip


def run_mechanism(
    out_dir: Path, *, names: Sequence[str], scale: str, seed: int, model: str | None = None, data: Path | None = None
) -> dict[str, Mechanism]:
    """For one seed, by configuration: ``tsne``, ``attention``, ``gradients``, ``energy`` and ``reasoning``; cached.

    Args:
        out_dir: of `run_metabolism`, which must have run these configurations.
        names: of the configurations.
        scale, seed, model: as for `run_metabolism`.
        data: the folder with GSM8K; without it, reasoning is skipped.
    """
    found: dict[str, Mechanism] = {}
    given = problems(data, REASONING_PROBLEMS) if data is not None and has_problems(data) else None
    with run_threads(model):
        subject = subject_for(model, seed, out_dir / "models")
        for name in names:
            config = configurations(scale, seed)[name]
            key = cell(out_dir, subject, name, config, seed, every_layer=every_layer(scale, model))["key"]
            explained = _Explained(subject, config, out_dir / "treated" / key)
            one = json_cells(out_dir / "mechanism").kept(key, explained.mechanism)
            solved = json_cells(out_dir / "reasoning")
            if given is not None or key in solved:
                one |= solved.kept(key, functools.partial(explained.reasoning, given or []))
            found[name] = cast(Mechanism, one)
    return found


@dataclass(frozen=True)
class _Explained:
    """What is measured on a configuration's model besides the table."""

    subject: Subject
    config: RLCP | None
    folder: Path

    @functools.cached_property
    def treated(self) -> tuple[Any, Any]:
        """The model and its tokenizer: the subject's own if it was not treated."""
        if self.config is None:
            return self.subject.load()
        with quiet_transformers():
            return load_model(self.folder), load_tokenizer(self.folder)

    def mechanism(self) -> dict[str, Any]:
        (model, tokenizer), layer = self.treated, (self.config or RLCP()).layer
        return {
            "tsne": tsne(model, tokenizer, self.subject, layer),
            "attention": attention_map(model, tokenizer, self.subject, layer),
            "magnified": magnified(model, tokenizer, self.subject, layer),
            "gradients": gradients(model, tokenizer, self.subject),
            "energy": energy(model, tokenizer, self.subject),
        }

    def reasoning(self, given: Sequence[tuple[str, str]]) -> dict[str, Any]:
        return {"reasoning": reasoning(*self.treated, given)}
