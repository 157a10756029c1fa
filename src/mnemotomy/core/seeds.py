"""Seeds made from several numbers, and torch's random state: a temporary one, and kept ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_PRIME_1, _PRIME_2, _PRIME_5 = 11400714785074694791, 14029467366897019727, 2870177450012600261
_WORD = (1 << 64) - 1


def mix(*integers: int) -> int:
    """One seed below 2⁶² from several integers whose order counts; the same on every machine and Python.

    It is xxHash64's mixing of whole words, with which CPython 3.8 and later hash a tuple of integers on a 64-bit
    machine (``Objects/tupleobject.c``): runs seeded by such a hash keep their numbers.

    Args:
        integers: between −2⁶¹ and 2⁶¹ exclusively; others are reduced modulo 2⁶¹ − 1.
    """
    found = _PRIME_5
    for value in integers:
        found = (found + _lane(value) * _PRIME_2) & _WORD
        found = (found << 31 | found >> 33) & _WORD
        found = found * _PRIME_1 & _WORD
    found = (found + (len(integers) ^ _PRIME_5 ^ 3527539)) & _WORD
    return (1546275796 if found == _WORD else found) & ((1 << 62) - 1)


@contextlib.contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Torch's random state starts from ``seed`` inside and is restored on leaving; None changes nothing."""
    import torch

    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def state_of(device: torch.device) -> list[str]:
    """Torch's random state in hexadecimal digits: the processor's, and that of a GPU."""
    import torch

    states = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
    return [bytes(one.tolist()).hex() for one in states]


def restore_state(states: Sequence[str], device: torch.device) -> None:
    """Set torch's random state to one from ``state_of``."""
    import torch

    first, *others = (torch.tensor(list(bytes.fromhex(one)), dtype=torch.uint8) for one in states)
    torch.set_rng_state(first)
    for one in others:
        torch.cuda.set_rng_state(one, device)


def _lane(value: int) -> int:
    """CPython's hash of an integer: modulo 2⁶¹ − 1, with its sign; −1 means an error there and becomes −2."""
    found = abs(value) % ((1 << 61) - 1) * (-1 if value < 0 else 1)
    return -2 if found == -1 else found
