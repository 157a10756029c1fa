"""The runs of the metabolism bench: seeds × configurations, each cell cached by its content."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.files import write_text
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
from mnemotomy.core.modules import single_threaded
from mnemotomy.core.version import versions
from mnemotomy.metabolism.metabolize import metabolize
from mnemotomy.metabolism.rlcp import RLCP, described
from mnemotomy.metrics.interval import averaged
from mnemotomy_bench.metabolism.configurations import Scale, configurations
from mnemotomy_bench.metabolism.measure import measure
from mnemotomy_bench.metabolism.mechanism import attention_map, energy, gradients, magnified, tsne
from mnemotomy_bench.metabolism.reasoning import has_problems, problems, reasoning
from mnemotomy_bench.metabolism.subject import Subject, subject_for

SEEDS = {"tiny": (0,), "small": (0, 1, 2, 3, 4), "full": (0, 1, 2)}
REASONING_PROBLEMS = 64

Record = dict[str, Any]


def run_metabolism(
    out_dir: Path,
    *,
    scale: Scale = "small",
    model: str | None = None,
    seeds: Sequence[int] | None = None,
    only: Sequence[str] = (),
) -> list[Record]:
    """The records of every configuration: the mean over the seeds, and ``… spread`` for the standard deviation.

    Args:
        out_dir: for the cells and the models; what is there is not run again.
        scale: ``tiny`` for one seed and a tenth of the work, ``small`` for this table, ``full`` for other models.
        model: a folder or a hub id in place of the small world's model.
        seeds: in place of the scale's.
        only: names of configurations to run; all by default.

    Raises:
        ConfigurationError: there is no configuration of such a name.
    """
    known = configurations(scale, 0)
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ConfigurationError(f"there is no configuration {unknown[0]!r}; choose among {', '.join(known)}")
    cells: dict[str, list[Record]] = {}
    with single_threaded():
        for seed in seeds or SEEDS[scale]:
            subject = subject_for(model, seed, out_dir / "models")
            for name, config in configurations(scale, seed).items():
                if not only or name in only:
                    found = cell(out_dir, subject, name, config, seed, every_layer=scale != "tiny")
                    cells.setdefault(name, []).append(found)
    return [summary(name, found) for name, found in cells.items()]


def cell(
    out_dir: Path, subject: Subject, name: str, config: RLCP | None, seed: int, *, every_layer: bool = True
) -> Record:
    """One configuration with one seed: from the cache, or treated and measured now."""
    model, tokenizer = subject.load()
    identity: Record = {
        "name": name,
        "config": described(config) if config else None,
        "model": fingerprint(model),
        "subject": subject.digest(),
        "versions": versions(),
    }
    if not every_layer:
        identity["layers"] = "from l* on"
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    path = out_dir / "cells" / f"{key}.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    start, stopped, probe = time.perf_counter(), None, None
    if config is not None:
        result = metabolize(
            model, tokenizer, subject.facts, config, retain=subject.retain, format=subject.format,
            out=out_dir / "runs" / key,
        )  # fmt: skip
        model, stopped, probe = result.model, result.stopped, result.probe_accuracy
        with quiet_transformers():
            result.save(out_dir / "treated" / key)
    seconds = time.perf_counter() - start
    layer = (config or RLCP()).layer
    record = measure(model, tokenizer, subject, layer, every_layer=every_layer)
    record |= {"adversarial_probe": probe, "seconds": seconds, "stopped": stopped, "seed": seed, "name": name}
    record |= {"config": identity["config"], "versions": versions(), "key": key}
    write_text(path, json.dumps(record, indent=1))
    return record


def summary(name: str, cells: Sequence[Record]) -> Record:
    """The mean and the spread of every number over the seeds."""
    found: Record = {"configuration": name, "seeds": [one["seed"] for one in cells]}
    for key, value in cells[0].items():
        if key in ("seed", "stopped") or isinstance(value, bool) or not isinstance(value, int | float | None):
            continue
        found |= averaged(cells, key)
    found["layers"] = [
        {
            key: sum(one["layers"][index][key] for one in cells) / len(cells)
            for key in ("layer", "linear", "two_layer", "chance", "shuffled")
        }
        for index in range(len(cells[0]["layers"]))
    ]
    found["stopped"] = [one["stopped"] for one in cells if one["stopped"]]
    found |= {"config": cells[0]["config"], "versions": cells[0]["versions"]}
    return found


def run_mechanism(
    out_dir: Path, *, names: Sequence[str], scale: Scale, seed: int, model: str | None = None, data: Path | None = None
) -> Record:
    """For one seed, by configuration: ``tsne``, ``attention``, ``gradients``, ``energy`` and ``reasoning``; cached.

    Args:
        out_dir: of `run_metabolism`, which has to have run these configurations.
        names: of the configurations.
        scale, seed, model: as there.
        data: the folder with GSM8K; without it, reasoning is left out.
    """
    found: Record = {}
    given = problems(data, REASONING_PROBLEMS) if data is not None and has_problems(data) else None
    with single_threaded():
        subject = subject_for(model, seed, out_dir / "models")
        for name in names:
            config = configurations(scale, seed)[name]
            key = cell(out_dir, subject, name, config, seed, every_layer=scale != "tiny")["key"]
            path = out_dir / "mechanism" / f"{key}.json"
            found[name] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            if not found[name] or (given is not None and "reasoning" not in found[name]):
                treated, tokenizer = subject.load()
                if config is not None:
                    folder = out_dir / "treated" / key
                    with quiet_transformers():
                        treated, tokenizer = load_model(folder), load_tokenizer(folder)
                found[name] = found[name] or _mechanism(treated, tokenizer, subject, config)
                if given is not None:
                    found[name]["reasoning"] = reasoning(treated, tokenizer, given)
                write_text(path, json.dumps(found[name], indent=1))
    return found


def _mechanism(model: Any, tokenizer: Any, subject: Subject, config: RLCP | None) -> Record:
    layer = (config or RLCP()).layer
    return {
        "tsne": tsne(model, tokenizer, subject, layer),
        "attention": attention_map(model, tokenizer, subject, layer),
        "magnified": magnified(model, tokenizer, subject, layer),
        "gradients": gradients(model, tokenizer, subject),
        "energy": energy(model, tokenizer, subject),
    }
