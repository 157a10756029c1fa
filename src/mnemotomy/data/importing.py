"""Import a public benchmark as concept files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import DataError
from mnemotomy.core.files import check_replaceable, replacing_folder
from mnemotomy.core.version import __version__
from mnemotomy.data.benchmarks import BENCHMARKS, FILES, Benchmark, Line, Part, benchmark
from mnemotomy.data.fact import name_of
from mnemotomy.data.rows import file_rows, files_of, hub_rows, is_hub_id

RECORD = "benchmark.json"


@dataclass(frozen=True)
class Imported:
    """What an import wrote.

    Attributes:
        files: those written, by name (``forget``, ``retain``, ...).
        counts: lines of each.
        left_out: files that the source does not give, and why.
        plain: whether the questions are texts to be continued: give ``--plain`` to ``forget`` and ``audit``.
    """

    files: dict[str, Path]
    counts: dict[str, int]
    left_out: dict[str, str]
    plain: bool


def import_benchmark(
    name: str,
    source: str | Path,
    folder: str | Path,
    *,
    subjects: Sequence[str] = (),
    limit: int | None = None,
) -> Imported:
    """Write a public benchmark as the files that ``forget`` and ``audit`` take.

    The folder gets ``forget.jsonl`` and ``retain.jsonl`` (what a method is given), ``holdout.jsonl``,
    ``forget-questions.jsonl`` and ``retain-questions.jsonl`` (what an audit asks), as far as the benchmark has them.

    Args:
        name: ``muse``, ``wmdp-bio``, ``rwku``, ``zsre``, ``counterfact``, ``tofu-forget10``, ...
        source: a hub id, a folder with the benchmark's files (JSON, JSON Lines, Parquet or text), or one such file.
        folder: to write; an earlier import is replaced.
        subjects: only rows about these; for benchmarks of people and facts.
        limit: the most rows of each part to read.

    Raises:
        DataError: the benchmark or the source is unknown, a row is malformed, nothing is found, or the folder contains
            something else. Hub ids and Parquet files need the package ``datasets``.
    """
    chosen, folder = benchmark(name), Path(folder)
    if subjects and chosen.subject is None:
        raise DataError(f"{name} is not about single subjects; leave the subjects out")
    check_replaceable(folder, RECORD, [source], also=[f"{one}.jsonl" for one in FILES])
    wanted = frozenset(map(name_of, subjects))
    counts, left_out = dict[str, int](), dict[str, str]()
    with replacing_folder(folder) as temporary:
        for file, parts in sorted(chosen.parts.items(), key=lambda item: list(FILES).index(item[0])):
            try:
                lines = _lines(chosen, parts, source, wanted, limit)
                counts[file] = _write(temporary / f"{file}.jsonl", lines)
            except _AbsentError as absent:
                left_out[file] = str(absent)
                (temporary / f"{file}.jsonl").unlink(missing_ok=True)  # the hub refuses a part once it is read
        for file in [one for one, count in counts.items() if not count]:
            del counts[file]
            (temporary / f"{file}.jsonl").unlink()
            left_out[file] = "no row has a text" if not wanted else "no row is about such a subject"
        if not counts:
            raise DataError(f"{source} gives nothing of {name}: {'; '.join(sorted(set(left_out.values())))}")
        asked = {"subjects": list(subjects), "limit": limit}
        record = {"benchmark": name, "title": chosen.title, "source": str(source), **asked, "lines": counts}
        text = json.dumps({**record, "left_out": left_out, "mnemotomy": __version__}, indent=2, ensure_ascii=False)
        (temporary / RECORD).write_text(text + "\n", encoding="utf-8")
    return Imported({file: folder / f"{file}.jsonl" for file in counts}, counts, left_out, chosen.plain)


class _AbsentError(Exception):
    """The source does not have a part."""


def _lines(
    chosen: Benchmark, parts: Sequence[Part], source: str | Path, wanted: frozenset[str], limit: int | None
) -> Iterator[Line]:
    readers = [(part, _reader(chosen, part, source, None if wanted else limit)) for part in parts]

    def lines() -> Iterator[Line]:
        for part, read in readers:
            rows = read()
            if wanted:
                rows = (row for row in rows if _about(chosen, *row) in wanted)
            for row, where in itertools.islice(rows, limit):
                yield from _converted(part, row, where)

    return lines()


def _reader(
    chosen: Benchmark, part: Part, source: str | Path, limit: int | None
) -> Callable[[], Iterator[tuple[Any, str]]]:
    """What reads the rows of a part; a file that has the name of other parts is only read for those.

    Raises:
        _AbsentError: the source does not have it.
        DataError: there is no such source.
    """
    path = Path(source)
    if is_hub_id(source):
        return lambda: _from_hub(part, str(source), limit)
    if path.is_file():
        named = [one for parts in chosen.parts.values() for one in parts if path.stem in one.stems]
        if named and part not in named:
            raise _AbsentError(f"{source} has other parts of the benchmark; give the folder of all files")
        return lambda: file_rows(path)
    if not path.is_dir():
        known = sorted({one for each in BENCHMARKS.values() for one in each.hub})
        raise DataError(f"{source} does not exist; name a folder or a file, or a hub id such as {', '.join(known)}")
    found = files_of(path, part.stems)
    if not found:
        raise _AbsentError(f"{source} has no file {' or '.join(part.stems)} (.jsonl, .json, .parquet or .txt)")
    return lambda: itertools.chain.from_iterable(map(file_rows, found))


def _from_hub(part: Part, source: str, limit: int | None) -> Iterator[tuple[Any, str]]:
    try:
        yield from hub_rows(part.hub or source, part.config, part.split, limit)
    except DataError as error:
        if not part.gated:
            raise
        raise _AbsentError(f"{error} (this part needs a permission on the hub)") from error


def _about(chosen: Benchmark, row: Any, where: str) -> str:
    assert chosen.subject is not None
    return name_of(_read(lambda: str(chosen.subject(row)), where))  # type: ignore[misc]


def _converted(part: Part, row: Any, where: str) -> list[Line]:
    lines: list[Line] = _read(lambda: list(part.lines(row)), where)
    for line in lines:
        for key, value in line.items():
            for text in value if key == "perturbed_answer" and isinstance(value, list) else [value]:
                if not isinstance(text, str):
                    raise DataError(f"{where}: {key!r} must be a text, not {json.dumps(text, default=str)[:40]}")
    return [one for one in lines if all(str(value).strip() for key, value in one.items() if key != "perturbed_answer")]


def _read(value: Callable[[], Any], where: str) -> Any:
    try:
        return value()
    except KeyError as error:
        raise DataError(f"{where}: {error.args[0]!r} is missing; is this the right benchmark?") from error
    except (TypeError, IndexError, AttributeError) as error:
        raise DataError(f"{where}: not a row of this benchmark ({error})") from error


def _write(path: Path, lines: Iterator[Line]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file, closing(lines):  # type: ignore[type-var]
        for count, line in enumerate(lines, start=1):  # noqa: B007
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return count
