"""Bounds on what the inputs of others make this process do: regular expressions, templates, counts."""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import os
import re
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
        re.compile(pattern)  # without recursion, which `regex` allows, and which takes all memory
        compiled = regex.compile(pattern)
        return [name for name in names if compiled.fullmatch(name, timeout=max(end - time.monotonic(), 1e-3))]
    except TimeoutError as error:
        raise SelectionError(
            f"the regular expression {pattern[:80]!r} takes too long; leave out repetitions of repetitions, as in (a*)*"
        ) from error
    except (re.error, regex.error, OverflowError, RecursionError, MemoryError) as error:
        raise SelectionError(f"{pattern[:80]!r} is not a valid regular expression: {error}") from error


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop Python code inside after about so many seconds, in any thread; one call into C code is not cut short.

    Raises:
        TimeLimitError: the time is up.
    """
    key, thread = object(), threading.get_ident()
    _WATCH.add(key, time.monotonic() + seconds, thread)
    try:
        yield
    finally:
        _WATCH.remove(key, thread)


class _Watch:
    """A thread that looks at all limits now and then; one for each would cost more than what it guards."""

    def __init__(self) -> None:
        self.lock, self.limits, self.running = threading.Lock(), dict[object, tuple[float, int]](), False

    def add(self, key: object, end: float, thread: int) -> None:
        with self.lock:
            self.limits[key] = end, thread
            if not self.running:
                _thread.start_new_thread(self._look, ())  # Thread.start would wait for it
                self.running = True

    def remove(self, key: object, thread: int) -> None:
        with self.lock:
            self.limits.pop(key, None)
        _throw(thread, None)  # thrown, but not yet raised

    def _look(self) -> None:
        while True:
            time.sleep(_TICK)
            with self.lock:
                if not self.limits:
                    self.running = False
                    return
                for key, (end, thread) in list(self.limits.items()):
                    if time.monotonic() > end:
                        del self.limits[key]
                        _throw(thread, TimeLimitError)


_TICK = 0.2  # seconds
_WATCH = _Watch()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_WATCH.__init__)  # type: ignore[misc]


def _throw(thread: int, error: type[Exception] | None) -> None:
    """Raise ``error`` in a thread at its next instruction; None takes back what is not yet raised."""
    what = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)


def check_count(name: str, value: int) -> None:
    """Refuse a number of epochs, steps or rounds that is not from 1 to ``MOST``.

    Raises:
        ConfigurationError: with the name.
    """
    if value < 1:
        raise ConfigurationError(f"{name} is at least 1, not {value}")
    if value > MOST:
        raise ConfigurationError(f"{name} is at most {MOST}; this one has {value.bit_length()} bits")
