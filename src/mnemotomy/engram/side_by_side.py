"""Factorisations of a few hundred columns keep one core busy and little more, so several are done at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_NARROW = range(256, 2049)  # columns; below, threads cost more than they save; above, LAPACK keeps all cores busy
_EACH = 4  # pieces per thread at a time, so that none waits long for the last
_ENTRIES = 64 * 2**20  # of all results at a time


@dataclass(frozen=True)
class Size:
    """What a piece of work takes.

    Attributes:
        columns: the width of the matrix that is factorised.
        entries: of its result.
        alone: it is done by itself, whatever its size.
    """

    columns: int
    entries: int
    alone: bool = False


def batches(items: Iterable[tuple[Item, Size]]) -> Iterator[list[tuple[Item, Size]]]:
    """The items in order, those together that are worth doing at once and whose results fit into memory."""
    most = _EACH * torch.get_num_threads()
    batch: list[tuple[Item, Size]] = []
    for item, size in items:
        alone = size.alone or size.columns not in _NARROW
        full = len(batch) == most or sum(one.entries for _, one in batch) + size.entries > _ENTRIES
        if batch and (alone or full):
            yield batch
            batch = []
        batch.append((item, size))
        if alone:
            yield batch
            batch = []
    if batch:
        yield batch


def side_by_side(call: Callable[[Item], Result], batch: Sequence[tuple[Item, Size]]) -> list[Result]:
    """``call`` of every item, as many at once as torch has threads, each on one thread; the widest first."""
    threads = torch.get_num_threads()
    if min(threads, len(batch)) == 1:
        return [call(item) for item, _ in batch]
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    graded = torch.is_grad_enabled()

    def alone(item: Item) -> Result:
        with torch.set_grad_enabled(graded):
            return call(item)

    order = sorted(range(len(batch)), key=lambda index: -batch[index][1].columns)
    try:
        with (
            threadpool_limits(1, user_api="blas"),
            ThreadPoolExecutor(min(threads, len(batch)), initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            found = dict(zip(order, pool.map(alone, (batch[index][0] for index in order)), strict=True))
    finally:
        torch.set_num_threads(threads)  # threads that others start later take the number that was set last
    return [found[index] for index in range(len(batch))]
