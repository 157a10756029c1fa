"""Hooks that turn forward passes into second moments, one statistic for each distinct input."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import DataError, NonFiniteError, SharingError
from mnemotomy.engram.accumulator import Accumulator, Sampling, add_input_, nothing_yet
from mnemotomy.engram.moments import Statistic
from mnemotomy.engram.rows import ENCODER, RowLabels, stream_of, text_encoder
from mnemotomy.engram.second_moment import SecondMoment
from mnemotomy.engram.sites import Layout, Reading, Site

Identity = tuple[int, int, tuple[int, ...], tuple[int, ...], Layout]
"""Object, version (an in-place write makes another input of it), shape, strides and layout."""

_IN_FLOAT64 = "collect in float64: options=mt.CollectOptions(dtype=torch.float64)"


class Collector:
    """Accumulates the moments of ``sites`` while the model runs inside ``attached()``.

    Sites that read the same tensor in the first forward pass (q, k and v; gate and up; keys and values of
    cross-attention) share one statistic. Every later pass checks that they still read the same tensor.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: Mapping[str, Site],
        concepts: list[str],
        *,
        share: bool,
        dtype: torch.dtype,
        sampling: Sampling | None = None,
    ):
        self.concepts = concepts
        self.sums: dict[str, dict[int, Accumulator | SecondMoment]] = {}  # by concept: open, or settled
        self.readers: dict[str, str] = {}
        self._model = model
        self._sites = sites
        self._share = share
        self._dtype = dtype
        self._sampling = sampling
        self._streams = {name: stream_of(model, name) for name in sites}
        self._labels: RowLabels | None = None
        self._fresh: set[str] = set()  # statistics begun in this pass; only these may be joined
        self._seen: dict[Identity, tuple[weakref.ref[Tensor], str]] = {}
        self._calls: dict[str, int] = {}
        self._encoded: weakref.ref[Tensor] | None = None
        self._encoding = False

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Hooks on the model, removed on leaving."""
        handles = []
        try:
            encoder = text_encoder(self._model)
            if encoder is not None:
                handles.append(encoder.register_forward_pre_hook(self._enter_encoder))
                handles.append(encoder.register_forward_hook(self._leave_encoder))
            for site in self._sites.values():
                handles += site.attach(self._observe)
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextlib.contextmanager
    def batch(self, labels: RowLabels) -> Iterator[None]:
        """Around one forward pass, whose rows have these concepts."""
        self._labels = labels
        self._fresh, self._calls, self._encoded, self._encoding = set(), {}, None, False
        self._seen.clear()
        try:
            yield
        finally:
            self._seen.clear()
            self._labels = None
        self._check_sharing()

    def statistics(self) -> dict[str, Statistic]:
        """The moments so far, by concept; zeros if a concept has not reached an input.

        Unsettled sums are in float64, so that a resumed collection gives exactly the same moments.
        """
        collected: dict[str, Statistic] = {}
        for name, sums in self.sums.items():
            if not sums:  # every row of it was masked
                continue
            found = {i: one.moment(torch.float64) if isinstance(one, Accumulator) else one for i, one in sums.items()}
            like = next(iter(found.values()))
            collected[name] = {
                concept: found.get(index) or like.zeros_like() for index, concept in enumerate(self.concepts)
            }
        return collected

    def restore(self, statistics: Mapping[str, Statistic], readers: Mapping[str, str]) -> None:
        """Continue from an earlier collection's sums."""
        self.readers = dict(readers)
        for name, statistic in statistics.items():
            owner, leaf = self._sites[name].parameters[0]
            device = getattr(owner, leaf).device
            self.sums[name] = {index: statistic[c].to(device) for index, c in enumerate(self.concepts)}

    def settle(self) -> None:
        """Round every sum to its final precision and keep its triangle only. More rows may follow."""
        for name, sums in self.sums.items():
            self.sums[name] = {
                i: one.moment(self._dtype) if isinstance(one, Accumulator) else one.rounded(self._dtype)
                for i, one in sums.items()
            }

    def check_finite(self) -> None:
        """Refuse sums that are NaN or infinite.

        Raises:
            NonFiniteError: it names the concept and the site.
        """
        for site, concept, sums in self._each():
            if not sums.finite and self._dtype == torch.float32 and bool(sums.first.isfinite().all()):
                raise NonFiniteError(
                    f"the inputs of site {site!r} are so large for concept {concept!r} that their squares overflow "
                    f"float32; {_IN_FLOAT64}"
                )
            if not sums.finite:
                raise NonFiniteError(
                    f"the inputs of site {site!r} are not finite for concept {concept!r}: the model overflows there; "
                    "try float32 or bfloat16 weights, or check that concept's examples"
                )

    def check_range(self) -> None:
        """Refuse settled sums of inputs too small for float32.

        Raises:
            DataError: it names the concept and the site.
        """
        for site, concept, sums in self._each():
            if isinstance(sums, SecondMoment) and sums.vanishing:
                raise DataError(
                    f"the inputs of site {site!r} are so small for concept {concept!r} that their squares vanish in "
                    f"float32; {_IN_FLOAT64}"
                )

    def _each(self) -> Iterator[tuple[str, str, Accumulator | SecondMoment]]:
        for site, sums in self.sums.items():
            for index, one in sums.items():
                yield site, self.concepts[index], one

    def _observe(self, name: str, reading: Reading) -> None:
        assert self._labels is not None
        key = (
            id(reading.source),
            0 if reading.source.is_inference() else reading.source._version,
            tuple(reading.tensor.shape),
            tuple(reading.tensor.stride()),
            reading.layout,
        )
        seen = self._seen.get(key)
        owner = seen[1] if seen is not None and seen[0]() is reading.source else None
        if name not in self.readers:
            joined = owner is not None and owner in self._fresh and self._share
            self.readers[name] = owner if joined and owner is not None else name
        self._calls[name] = self._calls.get(name, 0) + 1
        if self.readers[name] != name:
            if owner != self.readers[name]:
                raise self._changed(name)
            return
        self._seen[key] = (weakref.ref(reading.source), name)
        if name not in self.sums:
            self._fresh.add(name)
            self.sums[name] = {}
        sums = self.sums[name]

        def sums_of(concept: int) -> Accumulator:
            one = sums.get(concept)
            if not isinstance(one, Accumulator):
                empty = nothing_yet(reading.layout, reading.tensor, self._dtype)
                one = sums[concept] = empty if one is None else Accumulator.of(one, self._dtype)
            return one

        stream = ENCODER if self._reads_encoder(reading) else self._streams[name]
        labels, tensor = self._labels.of(reading, stream, name)
        add_input_(sums_of, reading.layout, tensor, labels, self._sampling)

    def _check_sharing(self) -> None:
        for name, owner in self.readers.items():
            if owner != name and self._calls.get(name, 0) != self._calls.get(owner, 0):
                raise self._changed(name)

    def _changed(self, name: str) -> SharingError:
        return SharingError(
            f"site {name!r} read the same tensor as {self.readers[name]!r} in the first batch, but not in this one; "
            "collect with share_inputs=False"
        )

    def _reads_encoder(self, reading: Reading) -> bool:
        return self._encoding or (self._encoded is not None and self._encoded() is reading.source)

    def _enter_encoder(self, module: nn.Module, args: object) -> None:
        self._encoding = True

    def _leave_encoder(self, module: nn.Module, args: object, output: object) -> None:
        self._encoding = False
        hidden = output if isinstance(output, Tensor) else getattr(output, "last_hidden_state", None)
        if hidden is None and isinstance(output, tuple):
            hidden = output[0]
        if isinstance(hidden, Tensor):
            self._encoded = weakref.ref(hidden)
