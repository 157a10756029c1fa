"""How long a large fact store takes to build and to search."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mnemotomy.core.errors import DataError
from mnemotomy.data.fact import Fact
from mnemotomy.store.fact_store import FactStore

_PARTS = (
    "ka ri mo ten sha lor vin del bur nas tor wy chi ost ham pra gol nei sul ber dar mon fel tri zan ul ma ro sen qua "
    "bel fa do ga li pe sto var kin os ti ne ru ja ye hol gra win mer dun ax po lu cor hes"
)
_EPITHETS = "New Old Upper Lower North South East West Saint Fort Port Lake Mount Great Little"
_KINDS = "City Falls Springs Heights Valley Bay Hills Beach Park Island Creek Bridge"
_SYLLABLES, _BEFORE, _AFTER = _PARTS.split(), _EPITHETS.split(), _KINDS.split()
_COUNTRIES = 195
_QUESTIONS = (
    "In which country is {}?",
    "To which country does {} belong?",
    "Where is the city of {} located?",
    "What is the country of {}?",
)
_PHASES = ("subject", "question", "unknown")


def run_store(
    *, facts: int = 1_000_000, queries: int = 1000, seed: int = 0, folder: Path | None = None
) -> dict[str, Any]:
    """Build a store of invented places, and search it in one process.

    Args:
        facts: number of facts.
        queries: half of them subjects alone, half full questions; the same number of further questions asks for
            subjects that the store lacks.
        seed: of the places and the queries.
        folder: where to put the store; by default a temporary one.

    Returns:
        Seconds and bytes of building; by kind of query the median, the 99th percentile and the longest time in
        milliseconds, the share of queries whose fact came first, and the share with a relevance of at least 0.5.
    """
    if facts < 1 or queries < 2:
        raise DataError("a run needs at least 1 fact and 2 queries")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "facts.db"
        with FactStore(path) as store:
            seconds, _ = _timed(lambda: store.add(places(facts, seed)))
        size = path.stat().st_size
        with FactStore(path, create=False) as store:
            opening, _ = _timed(lambda: store.search("first"))
            wanted = store.sample(queries, seed)
            kinds = {kind: _measure(store, list(_asked(kind, wanted, queries, seed))) for kind in _PHASES}
            deleting, _ = _timed(lambda: store.delete(wanted[0].subject))
    return {
        "facts": facts,
        "seed": seed,
        "build_seconds": round(seconds, 2),
        "bytes": size,
        "bytes_per_fact": round(size / facts, 1),
        "first_query_ms": round(1000 * opening, 2),
        "delete_seconds": round(deleting, 3),
        "queries": kinds,
    }


def places(number: int, seed: int = 0) -> Iterator[Fact]:
    """Distinct invented places in invented countries, the same for the same seed."""
    rng = random.Random(f"places-{seed}")
    countries = [f"{_word(rng, 2)}land" for _ in range(_COUNTRIES)]
    seen: set[str] = set()
    while len(seen) < number:
        name = _place(rng)
        if name.casefold() in seen:
            continue
        seen.add(name.casefold())
        answer = rng.choice(countries)
        yield Fact(name, answer, contexts=(f"{name} is a city in the country of {answer}.",), relation="country")


def _place(rng: random.Random) -> str:
    name = _word(rng, rng.randint(2, 4))
    kind = rng.random()
    if kind < 0.2:
        return f"{rng.choice(_BEFORE)} {name}"
    if kind < 0.4:
        return f"{name} {rng.choice(_AFTER)}"
    return name


def _word(rng: random.Random, syllables: int) -> str:
    return "".join(rng.choice(_SYLLABLES) for _ in range(syllables)).title()


def _asked(kind: str, wanted: list[Fact], queries: int, seed: int) -> Iterator[tuple[str, str]]:
    """Queries of one kind, each with the subject that must come first."""
    rng = random.Random(f"queries-{seed}")
    half = queries // 2
    for number in range(half):
        fact = wanted[(number if kind == "subject" else half + number) % len(wanted)]
        question = rng.choice(_QUESTIONS)
        match kind:
            case "subject":
                yield fact.subject, fact.subject
            case "question":
                yield question.format(fact.subject), fact.subject
            case _:
                yield question.format(f"{_word(rng, 2)}x{_word(rng, 4)}"), ""


def _measure(store: FactStore, asked: Iterable[tuple[str, str]]) -> dict[str, Any]:
    seconds, first, relevant = [], [], []
    for query, subject in asked:
        elapsed, hits = _timed(lambda query=query: store.search(query))  # type: ignore[misc]
        seconds.append(elapsed)
        first.append(bool(hits) and hits[0].fact.subject == subject)
        relevant.append(bool(hits) and hits[0].relevance >= 0.5)
    milliseconds = 1000 * np.array(seconds)
    return {
        "queries": len(seconds),
        "p50_ms": round(float(np.percentile(milliseconds, 50)), 3),
        "p99_ms": round(float(np.percentile(milliseconds, 99)), 3),
        "max_ms": round(float(milliseconds.max()), 3),
        "first": round(float(np.mean(first)), 4),
        "relevant": round(float(np.mean(relevant)), 4),
    }


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result
