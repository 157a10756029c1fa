"""What checking a file against the hash of its content costs, beside loading it."""

from __future__ import annotations

import gc
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import torch
from rich.console import Console
from torch import Tensor, nn

from mnemotomy.core.models import load_model, quiet_transformers, save_model
from mnemotomy.core.progress import progress_bar
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.strength import erase
from mnemotomy.report.table import Table
from mnemotomy.store.fact_store import FactStore
from mnemotomy.training.checkpoint import Checkpoints, Progress, State
from mnemotomy_bench.speed.store import places

Load = Callable[[bool], object]
"""Load artifacts; the argument says whether to check them."""


class IntegrityRecord(TypedDict):
    """One use: bytes, all seconds with and without the check, the ratio of their medians and of the least of them."""

    loaded: str
    bytes: int
    checked: list[float]
    unchecked: list[float]
    ratio: float
    ratio_of_least: float


def run_integrity(
    *,
    width: int = 1024,
    layers: int = 6,
    facts: int = 100_000,
    repeats: int = 15,
    model: Path | None = None,
    cold: bool = False,
) -> list[IntegrityRecord]:
    """Load each kind of artifact with and without the check, in random order.

    Loading ends when the artifact can be used: weights are in the model, in float32 while the file has bfloat16, as
    pretrained models have; an edit is in its model; a run is ready to go on; each Σ of moments is in memory; all facts
    of a store are read.

    Args:
        width: of a Llama with random weights.
        layers: of the same.
        facts: in the store.
        repeats: times that each is loaded in either way.
        model: a folder with a pretrained model instead of that Llama.
        cold: read the files from the disk; otherwise from the system's cache, where the check weighs most.

    Raises:
        ModelError: ``model`` cannot be loaded.
    """
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        subject = load_model(model) if model else _llama(width, layers)
        loads = _loads(Path(folder), subject, facts)
        with progress_bar("loading", len(loads) * repeats) as advance:
            return [_record(name, files, load, repeats, cold, advance) for name, files, load in loads]


def print_integrity(records: list[IntegrityRecord], console: Console) -> None:
    """One row per use."""
    rows = [
        [
            *(record["loaded"], f"{record['bytes'] / 1e6:.0f} MB"),
            *(f"{1000 * statistics.median(seconds):.1f}" for seconds in (record["unchecked"], record["checked"])),
            f"{record['ratio']:.3f}",
        ]
        for record in records
    ]
    columns = ("loaded", "size", "unchecked ms", "checked ms", "ratio")
    Table(columns, rows, "Loading with and without the check of the content").print(console)


def _record(
    name: str, paths: list[Path], load: Load, repeats: int, cold: bool, advance: Callable[[int], object]
) -> IntegrityRecord:
    files = [file for path in paths for file in (path.iterdir() if path.is_dir() else [path])]
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for verify in (True, False):  # warm up
        load(verify)
    draw = random.Random(0)
    for _ in range(repeats):
        for verify in draw.sample((True, False), 2):  # in a fixed order, one would always find the memory of the other
            gc.collect()
            if cold:
                _forget(files)
            start = time.perf_counter()
            loaded = load(verify)
            seconds[verify].append(time.perf_counter() - start)
            del loaded
        advance(1)
    return {
        "loaded": name,
        "bytes": sum(file.stat().st_size for file in files),
        "checked": seconds[True],
        "unchecked": seconds[False],
        "ratio": statistics.median(seconds[True]) / statistics.median(seconds[False]),
        "ratio_of_least": min(seconds[True]) / min(seconds[False]),
    }


def _forget(files: list[Path]) -> None:
    """Take files out of the system's cache."""
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _loads(folder: Path, subject: Any, facts: int) -> list[tuple[str, list[Path], Load]]:
    """Write one artifact of each kind; the name of each use, its files, and how to load them."""
    model, moments, edit, checkpoint, store = (
        folder / name for name in ("model", "moments", "edit", "checkpoint", "facts.db")
    )
    save_model(subject.to(torch.bfloat16), model)
    subject = load_model(model)
    rows = 2 * max(layer.in_features for layer in subject.modules() if isinstance(layer, nn.Linear))
    tokens = torch.arange(rows).reshape(-1, 64) % subject.config.vocab_size
    texts = {name: [{"input_ids": part}] for name, part in zip("ab", (tokens, tokens.flip(1)), strict=True)}
    found = collect(subject, texts, options=CollectOptions(progress=False))
    found.save(moments)
    erase(Atlas(subject, found), "a").save(edit)
    state = _state(subject)
    for parameter in subject.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    state.save(Checkpoints(checkpoint, "run"), Progress(1, 2, 3.0))
    with FactStore(store) as opened:
        opened.add(places(facts))

    def edited(verify: bool) -> nn.Module:
        loaded = load_model(model, verify=verify)
        Edit.load(edit, verify=verify).apply(loaded)
        return loaded

    def summed(verify: bool) -> list[Tensor]:
        statistics = Moments.load(moments, verify=verify).statistics.values()
        return [moment.second for statistic in statistics for moment in statistic.values()]

    def read(verify: bool) -> int:
        with FactStore(store, verify=verify) as opened:
            return sum(1 for _ in opened)

    def asked(verify: bool) -> object:
        with FactStore(store, verify=verify) as opened:
            return opened.search("first")

    return [
        ("model", [model], lambda verify: load_model(model, verify=verify)),
        ("model and edit", [model, edit], edited),
        ("checkpoint", [checkpoint], lambda verify: state.load(Checkpoints(checkpoint, "run", verify=verify))),
        ("moments", [moments], summed),
        ("store", [store], read),
        ("store, one question", [store], asked),
    ]


def _state(model: nn.Module) -> State:
    return State(model, torch.optim.AdamW(model.parameters()), None, torch.Generator())


def _llama(width: int, layers: int) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = LlamaConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=8,
        vocab_size=16 * width,
    )
    return LlamaForCausalLM(shape)
