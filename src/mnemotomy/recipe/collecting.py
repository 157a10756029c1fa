"""Moments from concept files; an interrupted run resumes from a checkpoint beside the output."""

from __future__ import annotations

import glob
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from mnemotomy.core.errors import ConceptError, DataError, ModelError
from mnemotomy.core.files import is_stream, resolved
from mnemotomy.core.fingerprints import digest, fingerprint
from mnemotomy.core.keys import LENGTH, key
from mnemotomy.core.models import check_tokens
from mnemotomy.core.modules import window_of
from mnemotomy.data.fact_file import read_neighbours
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.guards import token_concerns
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.rows import is_encoder_decoder
from mnemotomy.engram.sites import Selector, select_sites
from mnemotomy.engram.subjects import NEIGHBOURS, weighed
from mnemotomy.forget.found import FORGET
from mnemotomy.forget.subjects import Naming, check_named, names_of
from mnemotomy.text.batches import BATCH_SIZE, Batch, batches
from mnemotomy.text.encoding import IGNORED, MAX_LENGTH, Positions
from mnemotomy.text.records import REFERENCE, read_examples
from mnemotomy.text.template import OPEN_UNLEARNING, Template, check_template

_SUFFIX = ".checkpoint"


@dataclass(frozen=True)
class Reading:
    """How to read concept files into moments.

    Attributes:
        sites, layers: as for ``mnemotomy.collect``.
        positions: which tokens enter the moments.
        template: what stands around questions and answers.
        tags: put questions between tags, as the tokenizer has no chat template.
        batch_size: examples in a forward pass.
        max_length: the most tokens of an example.
        resume: resume from the checkpoint of an interrupted run, if there is one.
        progress: show a bar on a terminal.
    """

    sites: Selector = "all-linear"
    layers: tuple[int, ...] | None = None
    positions: Positions = "answer"
    template: Template = OPEN_UNLEARNING
    tags: bool = False
    batch_size: int = BATCH_SIZE
    max_length: int = MAX_LENGTH
    resume: bool = True
    progress: bool = True


def collect_files(
    model: nn.Module,
    tokenizer: Any,
    files: Mapping[str, Iterable[Path]],
    reading: Reading,
    output: Path,
    concern: Callable[[str], None] | None = None,
) -> tuple[Moments, dict[str, int]]:
    """The moments of every concept's files, and how many tokens of each counted.

    The checkpoint lies beside ``output``. Its name depends on everything that the numbers depend on, so that only the
    same collection resumes from it. Call ``remove_checkpoints`` once the result is saved. A device or a pipe has none.

    Args:
        concern: told before the pass if there are too few tokens.

    Raises:
        DataError: a file or a line is malformed.
        ModelError: model and tokenizer do not belong together.
        ConceptError: a concept has no reference.
        KeyboardInterrupt: it says where the checkpoint is.
    """
    check_once(files)
    if len(files) < 2:
        raise ConceptError(f"{next(iter(files), 'nothing')!r} has no reference; give its files")
    sites = select_sites(model, reading.sites, reading.layers)  # refuse before tokenising
    length = min(reading.max_length, window_of(model) or reading.max_length)
    data = _encode(model, tokenizer, files, reading, length)
    tokens = {name: sum(int((b["labels"] != IGNORED).sum()) for b in parts) for name, parts in data.items()}
    if concern is not None:
        for one in token_concerns(sites, tokens, REFERENCE):
            concern(one)
    checkpoint = None
    if not is_stream(output):
        checkpoint = checkpoint_for(output, _key(model, data, reading))
        if not reading.resume:
            checkpoint.unlink(missing_ok=True)
    options = CollectOptions(checkpoint=checkpoint, keep_checkpoint=True, progress=reading.progress)
    try:
        moments = collect(model, data, sites=reading.sites, layers=reading.layers, options=options)
    except KeyboardInterrupt:
        kept = checkpoint is not None and checkpoint.exists()
        where = f"the same command resumes from {checkpoint}" if kept else "nothing was kept"
        raise KeyboardInterrupt(where) from None
    text = {"positions": reading.positions, "template": asdict(reading.template), "max_length": length}
    return replace(moments, origin=replace(moments.origin, text=text)), tokens


def collect_at_subjects(
    model: nn.Module, tokenizer: Any, files: Mapping[str, Iterable[Path]], reading: Reading
) -> Moments:
    """The weighed moments of ``FORGET`` at its subjects and of their reference, without a checkpoint.

    Raises:
        DataError: a file is malformed, or a line to forget has no subject or does not name it.
    """
    check_once(files)
    read = {name: [one for file in files[name] for one in read_examples(file)] for name in (FORGET, REFERENCE)}
    unnamed = [one for one in read[FORGET] if one.subject is None]
    if unnamed:
        raise DataError(f"{unnamed[0].where}: 'subject' is missing, at which the edit is made")
    check_named([one for examples in read.values() for one in examples])
    others = [fact for file in files.get(NEIGHBOURS, ()) for fact in read_neighbours(file)]
    length = min(reading.max_length, window_of(model) or reading.max_length)
    naming = Naming(
        tokenizer, read[FORGET], read[REFERENCE], names_of(others), reading.template, reading.batch_size, length
    )
    sites = list(select_sites(model, reading.sites, reading.layers))
    return weighed(naming.moments(model, sites, progress=reading.progress), FORGET)


def checkpoint_for(output: Path, key: str) -> Path:
    """Where the run with this key keeps what it has done for ``output``: a file or a folder beside it."""
    return output.parent / f".{output.name}.{key}{_SUFFIX}"


def remove_checkpoints(output: Path) -> None:
    """Remove the checkpoints that runs for ``output`` left beside it."""
    for stale in output.parent.glob(f".{glob.escape(output.name)}.*{_SUFFIX}"):
        name = stale.name.removeprefix(f".{output.name}.").removesuffix(_SUFFIX)
        if re.fullmatch(f"[0-9a-f]{{{LENGTH}}}", name):  # not of an output whose name only begins alike
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink(missing_ok=True)


def check_once(files: Mapping[str, Iterable[Path]]) -> None:
    """Refuse a file that is named twice for one concept or set: its examples would count twice.

    Raises:
        DataError: it names the file.
    """
    for name, paths in files.items():
        seen: set[Path] = set()
        for path in map(resolved, paths):
            if path in seen:
                raise DataError(f"{name}: {path} is given twice, so its examples would count twice; give it once")
            seen.add(path)


def check_writable(output: Path) -> None:
    """Try to write where ``output`` or its folder will be, so that hours of work do not end in an error.

    Raises:
        OSError: nothing can be written there.
    """
    if is_stream(output):
        return
    there = next((folder for folder in output.absolute().parents if folder.exists()), output)
    with tempfile.TemporaryFile(dir=there):
        pass


def _encode(
    model: nn.Module, tokenizer: Any, files: Mapping[str, Iterable[Path]], reading: Reading, length: int
) -> dict[str, list[Batch]]:
    if is_encoder_decoder(model):
        raise ModelError(
            f"{type(model).__name__} reads one text and writes another, and concept files do not tell them apart; "
            "make the batches yourself and call mnemotomy.collect"
        )
    data = {}
    read = {name: [example for path in paths for example in read_examples(path)] for name, paths in files.items()}
    asked = any(example.form == "question" for examples in read.values() for example in examples)
    if asked or reading.tags or reading.template != OPEN_UNLEARNING:
        named = getattr(tokenizer, "name_or_path", "") or "this model"
        check_template(tokenizer, named, reading.tags, reading.template)
    for name, examples in read.items():
        data[name] = batches(
            tokenizer,
            examples,
            template=reading.template,
            positions=reading.positions,
            batch_size=reading.batch_size,
            max_length=length,
        )
    check_tokens(model, max(int(batch["input_ids"].max()) for parts in data.values() for batch in parts))
    return data


def _key(model: nn.Module, data: Mapping[str, list[Batch]], reading: Reading) -> str:
    """A hash of the model, the sites, and the tokens in their order."""
    tokens = [[name, [[digest(part) for part in batch.values()] for batch in parts]] for name, parts in data.items()]
    return key(fingerprint(model), reading.sites, reading.layers, tokens)
