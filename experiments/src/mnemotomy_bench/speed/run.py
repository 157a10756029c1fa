"""The speed runs: interleaved repetitions in one process, medians, and the same engram checked."""

from __future__ import annotations

import importlib.util
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from mnemotomy.core.files import check_file, write_text
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.version import versions
from mnemotomy_bench.lab.cases import at_scale, document, validated
from mnemotomy_bench.speed.case import Case, Pretrained
from mnemotomy_bench.speed.contenders import CONTENDERS, Stopwatch
from mnemotomy_bench.speed.memory import peak_extra_bytes
from mnemotomy_bench.speed.records import SpeedRecord


def cases(scale: str) -> tuple[Case, ...]:
    """The shapes of a scale: ``tiny``, ``one``, ``ten``, ``deficient`` or ``bfloat16``.

    Raises:
        ConfigurationError: there is no such scale.
    """
    found: tuple[Case, ...] = validated(tuple[Case, ...], at_scale(document("speed"), scale), f"speed.yaml, {scale}")
    return found


def pretrained_cases(model: Path) -> list[Case | Pretrained]:
    """One and ten concepts of a pretrained model."""
    return [Pretrained(str(model)), Pretrained(str(model), tokens=11 * 2048, concepts=10)]


def run_speed(cases: Sequence[Case | Pretrained], *, repeats: int = 3, out: Path | None = None) -> list[SpeedRecord]:
    """One record per case: medians of seconds, ratios to the floor and to the peer, peak memory, and the difference.

    Args:
        cases: to run.
        repeats: interleaved repetitions of every contender.
        out: a JSON file for the records.

    Raises:
        DataError: ``out`` is a folder, or lies below a file.
    """
    if out is not None:
        check_file(out)
    names = [name for name in CONTENDERS if name != "peer" or importlib.util.find_spec("engram") is not None]
    records = []
    for case in cases:
        runs = 1 if case.concepts > 1 else repeats
        watches = _time(case, names, runs)
        memory = {} if case.concepts > 1 else {n: peak_extra_bytes(case, n) for n in names if n != "floor"}
        records.append(_record(case, watches, memory, runs))
        if out is not None:
            document = {"versions": versions(), "threads": torch.get_num_threads(), "records": records}
            write_text(out, json.dumps(document, indent=1))
    return records


def _time(case: Case | Pretrained, names: Sequence[str], runs: int) -> dict[str, list[Stopwatch]]:
    model, data = case.model(), case.data()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    watches: dict[str, list[Stopwatch]] = {name: [] for name in names}
    with torch.no_grad():
        model(**data["rest"][0], use_cache=False)  # warm up
    with progress_bar(case.name, runs * len(names)) as advance:
        for _ in range(runs):
            for name in names:
                watches[name].append(CONTENDERS[name](case, model, data, compare=not watches[name]))
                model.load_state_dict(state)
                advance(1)
    return watches


def _record(
    case: Case | Pretrained, watches: dict[str, list[Stopwatch]], memory: dict[str, int], runs: int
) -> SpeedRecord:
    seconds = {name: statistics.median(sum(w.seconds.values()) for w in done) for name, done in watches.items()}
    record: SpeedRecord = {
        "case": case.name,
        "repeats": runs,
        "seconds": seconds,
        "all_seconds": {name: [sum(w.seconds.values()) for w in done] for name, done in watches.items()},
        "parts": {
            name: {part: statistics.median(w.seconds[part] for w in done) for part in done[0].seconds}
            for name, done in watches.items()
        },
        "ours_to_floor": seconds["ours"] / seconds["floor"],
        "ours_to_forward": seconds["ours"] / statistics.median(w.seconds["forward"] for w in watches["floor"]),
    }
    if "peer" in seconds:
        record["peer_to_floor"] = seconds["peer"] / seconds["floor"]
        record["ours_to_peer"] = seconds["ours"] / seconds["peer"]
    if memory:
        record["peak_extra_bytes"] = memory
        if "peer" in memory:
            record["memory_to_peer"] = memory["ours"] / memory["peer"]
    if "peer" in watches and watches["peer"][0].engrams:
        record["largest_difference"] = _largest_difference(watches["ours"][0].engrams, watches["peer"][0].engrams)
    return record


def _largest_difference(ours: dict[str, torch.Tensor], peer: dict[str, torch.Tensor]) -> float:
    """Over the sites, the relative Frobenius norm of the difference between the two engrams."""
    return max(float((ours[site] - peer[site]).norm() / peer[site].norm().clamp_min(1e-30)) for site in peer)
