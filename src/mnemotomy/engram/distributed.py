"""Summing moments over the processes of a ``torch.distributed`` group."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from mnemotomy.core.errors import MergeError
from mnemotomy.engram.moments import Statistic
from mnemotomy.engram.second_moment import SecondMoment


def sum_over_processes(
    statistics: dict[str, Statistic], readers: dict[str, str], examples: Mapping[str, int], dtype: torch.dtype
) -> tuple[dict[str, Statistic], dict[str, str], dict[str, int]]:
    """The sums over all processes, the same on each; unchanged without a process group.

    Processes may have seen different concepts or, for experts, reached different sites: what a process lacks is zero.

    Raises:
        MergeError: two processes share inputs between different sites.
    """
    if not _several_processes():
        return statistics, readers, dict(examples)
    described = {
        name: (list(next(iter(s.values())).shape), list(next(iter(s.values())).first.shape))
        for name, s in statistics.items()
    }
    mine = {"readers": readers, "examples": dict(examples), "shapes": described}
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    all_readers: dict[str, str] = {}
    all_examples: dict[str, int] = {}
    shapes: dict[str, tuple[list[int], list[int]]] = {}
    for other in everyone:
        for site, owner in other["readers"].items():
            if all_readers.setdefault(site, owner) != owner:
                raise MergeError(
                    f"site {site!r} shares its input on some processes only; collect with share_inputs=False"
                )
        for concept, count in other["examples"].items():
            all_examples[concept] = all_examples.get(concept, 0) + count
        shapes |= other["shapes"]
    device = _device(statistics)
    summed: dict[str, Statistic] = {}
    for name in sorted(shapes):
        summed[name] = {}
        for concept in all_examples:
            moment = statistics.get(name, {}).get(concept)
            if moment is None:
                second, first = (torch.zeros(shape, dtype=dtype, device=device) for shape in shapes[name])
                moment = SecondMoment(second, first, 0)
            triangle, first, count = moment.triangle, moment.first, torch.tensor(moment.count, device=device)
            for tensor in (triangle, first, count):
                dist.all_reduce(tensor)
            summed[name][concept] = SecondMoment.from_triangle(triangle, moment.shape, first, int(count))
    ordered = {name: summed[name] for name in dict.fromkeys(all_readers.values()) if name in summed}
    return ordered, all_readers, all_examples


def own_file(path: str | Path) -> Path:
    """``path`` for this process: with its rank before the suffix if there are several."""
    path = Path(path)
    return path.with_name(f"{path.stem}.{dist.get_rank()}{path.suffix}") if _several_processes() else path


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _device(statistics: Mapping[str, Statistic]) -> torch.device:
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return next((m.first.device for s in statistics.values() for m in s.values()), torch.device("cpu"))
