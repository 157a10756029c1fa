"""Bounds on what the inputs of others make this process do: regular expressions, templates, counts."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterable, Iterator

from mnemotomy.core.errors import ConfigurationError, MnemotomyError, SelectionError

MOST = 10**6
"""The most epochs, steps or rounds of any run: more is a slip of the keyboard."""

_MATCHING = 2.0  # seconds for all names together; a selection takes milliseconds


class TimeLimitError(MnemotomyError):
    """Work inside ``time_limit`` took too long."""


def full_matches(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a regular expression matches as a whole, found in bounded time.

    Raises:
        SelectionError: it is not a valid one, or needs too long, as one that backtracks without end does.
    """
    import regex  # `re` has no time limit

    end = time.monotonic() + _MATCHING
    try:
        compiled = regex.compile(pattern)
        return [name for name in names if compiled.fullmatch(name, timeout=max(end - time.monotonic(), 1e-3))]
    except TimeoutError as error:
        raise SelectionError(
            f"the regular expression {pattern[:80]!r} takes too long; leave out repetitions of repetitions, as in (a*)*"
        ) from error
    except (regex.error, OverflowError, RecursionError, MemoryError) as error:
        raise SelectionError(f"{pattern[:80]!r} is not a valid regular expression: {error}") from error


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop Python code inside after so many seconds, in any thread; one call into C code is not cut short.

    Raises:
        TimeLimitError: the time is up.
    """
    thread, lock, left = ctypes.c_ulong(threading.get_ident()), threading.Lock(), False
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def stop() -> None:
        with lock:
            if not left:
                throw(thread, ctypes.py_object(TimeLimitError))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            left = True
        throw(thread, None)  # thrown, but not yet raised
        timer.cancel()


def check_count(name: str, value: int) -> None:
    """Refuse a number of epochs, steps or rounds that is not from 1 to ``MOST``.

    Raises:
        ConfigurationError: with the name.
    """
    if value < 1:
        raise ConfigurationError(f"{name} is at least 1, not {value}")
    if value > MOST:
        raise ConfigurationError(f"{name} is at most {MOST}; this one has {value.bit_length()} bits")
