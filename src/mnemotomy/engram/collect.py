"""``collect``: one forward pass per example, for all concepts and sites together."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import ArtifactError, ConceptError, DataError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.modules import device_of, observing
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.version import versions
from mnemotomy.engram.accumulator import Sampling
from mnemotomy.engram.collector import Collector
from mnemotomy.engram.distributed import own_file, sum_over_processes
from mnemotomy.engram.forward import Forward, batch_size, default_forward, hash_batch, layer_by_layer, move
from mnemotomy.engram.moments import Moments, Origin, Statistic
from mnemotomy.engram.products import full_precision
from mnemotomy.engram.rows import is_encoder_decoder, label_rows
from mnemotomy.engram.sites import Selector, Site, select_sites

ConceptOf = Callable[[Any], Sequence[Any] | Tensor]
Mask = Callable[[Any], Tensor]
Labelled = tuple[list[str | None], Any]
"""A batch with the concept of each example, none for those that belong to no concept."""


@dataclass(frozen=True)
class CollectOptions:
    """Options of ``collect`` beyond the defaults.

    Attributes:
        forward: calls the model on a batch; by default according to the batch's form (``forward.default_forward``).
        share_inputs: keep one statistic for sites that read the same tensor.
        dtype: of products and moments, float32 or float64 whatever the model's dtype; sums are in float64.
        checkpoint: a file that the sums are written to at intervals and resumed from if it exists; each process of a
            group has its own beside it.
        checkpoint_seconds: the interval.
        keep_checkpoint: leave the file to the caller, who removes it once the moments are saved.
        rows: the most receptive fields of each image to read at a convolution, drawn from a fixed seed; all by default.
            Neighbours resemble each other: a few from many images tell more than all from a few.
        progress: show a bar on a terminal.
    """

    forward: Forward | None = None
    share_inputs: bool = True
    dtype: torch.dtype = torch.float32
    checkpoint: str | Path | None = None
    checkpoint_seconds: float = 60.0
    keep_checkpoint: bool = False
    rows: int | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        if self.dtype not in (torch.float32, torch.float64):
            raise DataError(
                f"moments are summed in float32 or float64, not {self.dtype}: a coarser sum destroys the edit"
            )
        if self.rows is not None and self.rows < 1:
            raise DataError(f"rows is at least one row of each example, not {self.rows}; None reads all")


def collect(
    model: nn.Module,
    data: Mapping[str, Any] | Iterable[Any],
    *,
    concepts: ConceptOf | None = None,
    sites: Selector = "all-linear",
    layers: int | Iterable[int] | None = None,
    mask: Mask | None = None,
    options: CollectOptions | None = None,
) -> Moments:
    """Sum ``Σ = Xᵀ X`` of every site's input over every concept's rows (Eq. 19, 23 of arXiv 2606.14997).

    Args:
        model: left exactly as found: mode, hooks, gradients, dtype, device.
        data: a mapping of concept name to its batches, or one loader together with ``concepts``.
        concepts: for a loader, the concept of each example of a batch (``None`` leaves the example out). Small batches
            of many concepts are slow, as every concept is a separate product: sort the examples by concept. For layers
            that read the sequence first, give batches of one concept: a batch with as many examples as tokens would be
            read as batch first.
        sites: which maps, by the PEFT convention (``select_sites``).
        layers: only these blocks.
        mask: ``[batch, length]`` of the tokens that count. By default tokens with a label, if the batch has ``labels``,
            that ``attention_mask`` keeps.
        options: beyond the defaults.

    Returns:
        The moments, summed over the processes of a ``torch.distributed`` group if there is one.

    Raises:
        SelectionError, ConceptError, NonFiniteError, RowsError, DataError: each says what is wrong and where.
        ArtifactError: the checkpoint is of another collection or of other batches.
    """
    options = options or CollectOptions()
    layers = None if layers is None else (layers,) if isinstance(layers, int) else tuple(layers)
    chosen = select_sites(model, sites, layers)
    origin = Origin(
        fingerprint=fingerprint(model),
        model=type(model).__name__,
        selector=sites if isinstance(sites, str) else tuple(sites),
        layers=layers,
        model_dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
        moment_dtype=str(options.dtype).removeprefix("torch."),
        rows=options.rows,
        versions=versions(),
    )
    run = _Run(model, chosen, origin, mask, options)
    with observing(model), full_precision(), layer_by_layer(), run.collector.attached():
        run.add_all(_labelled(data, concepts), _number_of_batches(data), by_concept=isinstance(data, Mapping))
    return run.finish([str(name) for name in data] if isinstance(data, Mapping) else [])


class _Run:
    """One collection in progress: batches, checkpoints and the result."""

    def __init__(
        self, model: nn.Module, sites: dict[str, Site], origin: Origin, mask: Mask | None, options: CollectOptions
    ) -> None:
        self.model = model
        self.sites = sites
        self.origin = origin
        self.mask = mask
        self.options = options
        self.device = device_of(model)
        self.forward = options.forward or default_forward(model, sites)
        self.sampling = None if options.rows is None else Sampling(options.rows, torch.Generator())
        self.collector = Collector(
            model, sites, [], share=options.share_inputs, dtype=options.dtype, sampling=self.sampling
        )
        self.encoder_decoder = is_encoder_decoder(model)
        self.batches = 0
        self.examples: dict[str, int] = {}
        self._read = hashlib.sha256()  # of all batches so far, if there is a checkpoint
        self.checkpoint = None if options.checkpoint is None else own_file(options.checkpoint)
        self._resumed: str | None = None
        self._saved_at = time.monotonic()
        self._resume()

    def add_all(self, batches: Iterable[Labelled], total: int | None, by_concept: bool) -> None:
        """Add every batch that is not in the checkpoint; ``by_concept`` if each concept ends before the next begins."""
        remaining = self._not_yet_read(iter(batches))
        with (
            progress_bar("collecting", total, enabled=self.options.progress) as advance,
            _deferred_interrupt(enabled=self.checkpoint is not None) as interrupted,
        ):
            advance(self.batches)
            for names, batch in remaining:
                if by_concept and names and names[0] not in self.examples:
                    self.collector.settle()
                self._add(names, batch)
                advance(1)
                if interrupted():
                    self._save()
                    raise KeyboardInterrupt
                if time.monotonic() - self._saved_at > self.options.checkpoint_seconds:
                    self.collector.check_finite()
                    self._save()

    def _not_yet_read(self, batches: Iterator[Labelled]) -> Iterator[Labelled]:
        """The batches after those of the checkpoint, which must be given again, bit for bit the same."""
        for names, batch in itertools.islice(batches, self.batches):
            hash_batch(self._read, names, batch)
        if self.batches and self._read.hexdigest() != self._resumed:
            raise ArtifactError(
                f"{self.checkpoint} was collected from other batches, or from these in another order; give the same "
                "batches in the same order (a shuffling loader needs a fixed seed), or delete the file"
            )
        return batches

    def finish(self, declared: Iterable[str]) -> Moments:
        """The moments, summed over processes and checked."""
        self.collector.settle()
        self.collector.check_finite()
        self.collector.check_range()
        for concept in declared:
            self._index(concept)
        statistics, readers, examples = sum_over_processes(
            self.collector.statistics(), self.collector.readers, self.examples, self.options.dtype
        )
        readers = {name: owner for name, owner in readers.items() if owner in statistics}
        unreached = [name for name in self.sites if name not in readers]
        if unreached:
            warnings.warn(f"{len(unreached)} sites were never reached, {unreached[0]!r} first; left out", stacklevel=3)
        self._check_counts(statistics, readers, examples)
        origin = replace(self.origin, examples=examples)
        in_order = {name: readers[name] for name in self.sites if name in readers}
        if self.checkpoint is not None and not self.options.keep_checkpoint:
            self.checkpoint.unlink(missing_ok=True)
        return Moments(statistics, in_order, tuple(examples), origin)

    def _add(self, names: Sequence[str | None], batch: Any) -> None:
        size = batch_size(batch)
        if len(names) != size:
            raise DataError(f"a batch of {size} examples has {len(names)} concepts; give one for each example")
        mask = None if self.mask is None else self.mask(batch)
        indices = [-1 if name is None else self._index(name) for name in names]
        labels = label_rows(batch, indices, mask, self.encoder_decoder).to(self.device)
        if self.sampling is not None:
            self.sampling.generator.manual_seed(self.batches)  # so that a resumed collection draws the same
        with self.collector.batch(labels):
            self.forward(self.model, move(batch, self.device))
        for name in names:
            if name is not None:
                self.examples[name] += 1
        self.batches += 1
        if self.checkpoint is not None:
            hash_batch(self._read, names, batch)

    def _index(self, concept: str) -> int:
        if concept not in self.examples:
            self.examples[concept] = 0
            self.collector.concepts.append(concept)
        return self.collector.concepts.index(concept)

    def _check_counts(
        self, statistics: Mapping[str, Statistic], readers: Mapping[str, str], examples: Mapping[str, int]
    ) -> None:
        if not examples:
            raise ConceptError("there is nothing to collect: no batch contains an example of a concept")
        for concept in examples:
            for site in readers:
                statistic = statistics.get(readers[site], {})
                if not self.sites[site].routed and (concept not in statistic or statistic[concept].count == 0):
                    raise ConceptError(
                        f"concept {concept!r} is empty: none of its rows reached site {site!r}; give it examples, and "
                        "check that the mask and the labels keep some tokens"
                    )

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self.checkpoint is not None and self.examples:
            so_far = Moments(self.collector.statistics(), self.collector.readers, tuple(self.examples), self.origin)
            progress = {
                "batches": self.batches,
                "examples": self.examples,
                "share_inputs": self.options.share_inputs,
                "read": self._read.hexdigest(),
            }
            so_far.save(self.checkpoint, progress=progress)

    def _resume(self) -> None:
        path = self.checkpoint
        if path is None or not path.exists():
            return
        so_far, progress = Moments.load_unfinished(path)
        same = ("fingerprint", "selector", "layers", "moment_dtype", "rows")
        alike = all(getattr(so_far.origin, key) == getattr(self.origin, key) for key in same)
        if progress is None or not alike or progress.get("share_inputs") != self.options.share_inputs:
            raise ArtifactError(f"{path} is not a checkpoint of this collection; delete it or name another file")
        self.batches, self._resumed = int(progress["batches"]), progress.get("read")
        self.examples = dict(progress["examples"])
        self.collector.concepts.extend(self.examples)
        self.collector.restore(so_far.statistics, so_far.readers)


def _labelled(data: Mapping[str, Any] | Iterable[Any], concepts: ConceptOf | None) -> Iterator[Labelled]:
    """Batches with the concept of each of their examples."""
    if isinstance(data, Mapping):
        if concepts is not None:
            raise DataError("give either a mapping of concept to batches, or a loader with concepts=, not both")
        for name, batches in data.items():
            for batch in [batches] if isinstance(batches, Mapping | Tensor) else batches:
                yield [str(name)] * batch_size(batch), batch
        return
    if concepts is None:
        raise DataError("a loader needs concepts=, a function that returns the concept of each example of a batch")
    for batch in data:
        found = concepts(batch)
        values = found.tolist() if isinstance(found, Tensor) else list(found)
        yield [None if value is None else str(value) for value in values], batch


def _number_of_batches(data: Mapping[str, Any] | Iterable[Any]) -> int | None:
    parts: list[Any] = list(data.values()) if isinstance(data, Mapping) else [data]
    if not all(isinstance(part, Sized) for part in parts):
        return None
    return sum(1 if isinstance(part, Mapping | Tensor) else len(part) for part in parts)


@contextlib.contextmanager
def _deferred_interrupt(enabled: bool) -> Iterator[Callable[[], bool]]:
    """Delay the first Ctrl-C until the batch is done, so that the checkpoint is whole; a second one stops at once."""
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    caught: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def handler(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: bool(caught)
    finally:
        signal.signal(signal.SIGINT, before)
