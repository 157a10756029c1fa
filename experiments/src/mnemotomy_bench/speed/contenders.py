"""What is timed: the floor, Mnemotomy, and the reference implementation, each doing a whole erasure."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.cut import FloatEpsCut
from mnemotomy.engram.strength import erase
from mnemotomy_bench.speed.case import SITES, Case, Data, Pretrained


class Stopwatch:
    """Seconds by part of the job, and the resulting engrams.

    Attributes:
        seconds: by part.
        engrams: by site, for comparison; empty unless requested.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.engrams: dict[str, Tensor] = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time spent inside to ``name``."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@torch.no_grad()
def floor(case: Case | Pretrained, model: PreTrainedModel, data: Data, *, compare: bool = False) -> Stopwatch:
    """The floor: work that every implementation of the formula must do.

    The plain forward pass over all tokens, one product per distinct second moment and batch, and one float32 ``eigh``
    per distinct Σ_total.
    """
    watch = Stopwatch()
    batches = [batch for part in data.values() for batch in part]
    widths = case.distinct_inputs
    rows = case.batch[0] * case.batch[1]
    inputs = {width: torch.randn(rows, width) for width in set(widths)}
    sums = {width: torch.zeros(width, width) for width in set(widths)}
    for batch in batches:
        with watch.part("forward"):
            model(**batch, use_cache=False)
        with watch.part("products"):
            for width in widths:
                sums[width].addmm_(inputs[width].T, inputs[width])
    with watch.part("eigh"):
        for width in widths:
            torch.linalg.eigh(sums[width])
    return watch


def ours(case: Case | Pretrained, model: PreTrainedModel, data: Data, *, compare: bool = False) -> Stopwatch:
    """Collect once, factorise once per distinct input, and edit the model in place for every concept.

    The engrams for comparison are computed again, outside the timing: the edit does not keep them.
    """
    watch = Stopwatch()
    with watch.part("collect"):
        moments = collect(model, data, sites=list(SITES), options=CollectOptions(progress=False))
    with watch.part("atlas"):
        atlas = Atlas(model, moments, cut=FloatEpsCut(), keep=1 if case.concepts == 1 else None)
    if case.concepts == 1:
        if compare:
            watch.engrams = {site: weight.clone() for site, weight in atlas["c0"].items()}
        with watch.part("edit"):
            erase(atlas, "c0").apply_(model)
        return watch
    for i in range(case.concepts):
        with watch.part("edit" if i < case.concepts - 1 else "last concept"):
            for _ in erase(atlas, f"c{i}").items():
                pass
    return watch


def peer(case: Case | Pretrained, model: PreTrainedModel, data: Data, *, compare: bool = False) -> Stopwatch:
    """``ai-engram`` called for each concept as its documentation says: target set, total set, solve, apply."""
    from engram import EngramEditor

    watch = Stopwatch()

    def inputs(batch: dict[str, Any]) -> dict[str, Any]:
        return {"input_ids": batch["input_ids"], "use_cache": False}

    everything = [batch for part in data.values() for batch in part]
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        for i in range(case.concepts):
            editor = EngramEditor(model)
            with watch.part("collect"):
                target = editor.collect_statistics(data[f"c{i}"], target_modules=list(SITES), batch_fn=inputs)
                total = editor.collect_statistics(everything, target_modules=list(SITES), batch_fn=inputs)
            with watch.part("solve"):
                engram = editor.compute_engram_weights(target, total)
            if case.concepts == 1:
                with watch.part("edit"):
                    editor.apply(engram, inplace=True)
                if compare:
                    # it uses mean covariances, so n⁺/N is restored
                    watch.engrams = {
                        layer: info.projection.float() * (info.n / info.N) for layer, info in engram.layers.items()
                    }
    return watch


CONTENDERS = {"floor": floor, "ours": ours, "peer": peer}
