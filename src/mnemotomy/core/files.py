"""Writing files so that a crash leaves the old file or the new one, never part of one."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from mnemotomy.core.errors import DataError
from mnemotomy.core.temporary import put_folder, sync, temporary_file, temporary_folder

MODEL_FILES = (
    "config.json", "generation_config.json", "model.safetensors", "model-*-of-*.safetensors",
    "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json",
    "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "tokenizer.json", "tokenizer_config.json",
    "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja", "chat_template.json", "*processor_config.json",
    "mnemotomy.json", "metabolism.json", "unlearning.json", "prompt_format.json", "recipe.yaml", "checksums.json",
    "README.md", "LICENSE*", ".gitattributes",
)  # fmt: skip
"""The files of a model folder, by pattern: those of transformers and ours. Anything else belongs to somebody."""


@contextlib.contextmanager
def output_file(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path; on success its content replaces the target, and a link stays a link.

    A device or pipe is not replaced: everything is written to it at the end.
    """
    target = Path(target)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; name a file", str(target))
    if is_stream(target):
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / f"whole{target.suffix}"
            yield whole
            with whole.open("rb") as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        return
    target = resolved(target) if target.is_symlink() else target
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_file(target)
    last = temporary.parent.with_name(f"{temporary.parent.name}.whole")
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # safetensors' 0600 would make shared results unreadable
        sync(temporary)
        os.replace(temporary, last)
        shutil.rmtree(temporary.parent, ignore_errors=True)  # a kill after the last step then leaves nothing
        os.replace(last, target)
    finally:
        shutil.rmtree(temporary.parent, ignore_errors=True)
        last.unlink(missing_ok=True)


def is_stream(path: Path) -> bool:
    """Whether the path is a device or a pipe: written to in place, with no files left beside it."""
    return path.exists() and not (path.is_file() or path.is_dir())


@contextlib.contextmanager
def replacing_folder(target: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``target``; on success it replaces the target, whose old content is removed.

    A link is followed. If the target cannot be replaced, its old content stays.
    """
    target = resolved(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_folder(target)
    try:
        yield temporary
        _share(temporary)
        put_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def resolved(path: str | Path) -> Path:
    """The absolute path, without links.

    Raises:
        DataError: its links form a loop, or it contains a null character.
    """
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.stat(path)  # Path.resolve no longer refuses a loop, as of Python 3.13
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path} is not a path that can be followed: {why}; name another") from error


def check_input(path: str | Path) -> None:
    """Refuse a named pipe, which would be waited for without end, and which cannot be read twice.

    Raises:
        DataError: it is one; the pipes of a shell's ``<(command)`` are not.
    """
    try:
        named = stat.S_ISFIFO(os.lstat(os.path.realpath(path)).st_mode)
    except OSError:  # the reader says what is wrong
        named = False
    except ValueError as error:
        raise DataError(f"{str(path)!r} is not a path: {error}; name a file") from error
    if named:
        raise DataError(f"{path} is a named pipe; save what comes out of it, and name that file")


def write_text(target: str | Path, text: str) -> None:
    """Write ``text`` to ``target`` as UTF-8, all of it or nothing, as ``output_file`` does."""
    with output_file(target) as file:
        file.write_text(text, encoding="utf-8")


def check_replaceable(
    folder: Path, record: str | tuple[str, ...], inputs: Iterable[str | Path] = (), *, also: Iterable[str] = ()
) -> None:
    """Refuse to replace anything but an earlier result by a model.

    Args:
        folder: where the model goes.
        record: the name of a file that every such result has; of several names, it has at least one.
        inputs: files and folders that are read, none of which may lie in ``folder``.
        also: names of further files that may be replaced, besides ``MODEL_FILES``.

    Raises:
        DataError: the folder is a file, or contains other files or an input.
    """
    check_above(folder)
    check_name(folder)
    if folder.exists():
        if not folder.is_dir():
            raise DataError(f"{folder} is a file; name a folder for the model")
        records = (record,) if isinstance(record, str) else record
        known = (*MODEL_FILES, *records, *also)
        there = sorted(folder.iterdir())
        names = [path.name for path in there if path.is_file()]
        expected = {name for pattern in known for name in fnmatch.filter(names, pattern)}
        others = [path.name for path in there if path.name not in expected]
        if others or (there and not any((folder / one).is_file() for one in records)):
            first = (others or [there[0].name])[0]
            raise DataError(
                f"{folder} contains files that mnemotomy did not write, such as {first!r}; empty it or name another"
            )
        if os.path.ismount(folder) or resolved(folder) == Path.cwd():
            raise DataError(f"{folder} cannot be replaced as a whole; name a folder inside it")
    for path in map(Path, inputs):
        if path.exists() and resolved(path).is_relative_to(resolved(folder)):
            raise DataError(f"{path} is in {folder}, which this run would replace; name another folder")


def check_no_input(target: str | Path, inputs: Iterable[str | Path]) -> None:
    """Refuse to write a result over one of its inputs, or into a folder that is one.

    Raises:
        DataError: ``target`` is one of ``inputs``, or lies in one.
    """
    for path in map(Path, inputs):
        if path.is_file() and resolved(target) == resolved(path):
            raise DataError(f"{target} is read by this command, which would replace it; name another file")
        if path.is_dir() and resolved(target).is_relative_to(resolved(path)):
            raise DataError(f"{target} lies in {path}, which this command reads; name a file elsewhere")


def check_beside(path: Path, result: Path, inputs: Iterable[str | Path]) -> None:
    """Refuse to write ``path`` beside a result, if it is an input or not of an earlier result.

    Raises:
        DataError: it is one of ``inputs``, or there is such a file and no ``result``.
    """
    check_no_input(path, inputs)
    if path.exists() and not result.exists():
        raise DataError(f"{path} would be replaced; remove it, or name another OUT")


def check_file(path: Path) -> None:
    """Refuse a path to which no file can be written.

    Raises:
        DataError: it is a folder, or lies below a file.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; name the file to write")
    check_above(path)
    resolved(path)


def check_name(path: Path) -> None:
    """Refuse a folder whose name is not UTF-8: tokenizers cannot write there, and no record could name it.

    Raises:
        DataError: it is refused.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"the name {str(path)!r} is not UTF-8; choose another") from error


def check_above(path: Path) -> None:
    """Refuse a path whose folder cannot be created.

    Raises:
        DataError: it lies below a file.
    """
    above = next((one for one in path.absolute().parents if one.exists()), path)
    if not above.is_dir():
        raise DataError(f"{path} lies below {above}, which is a file; name another path")


def _share(folder: Path) -> None:
    """Give a folder the permissions of the umask: mkdtemp and safetensors write for their owner alone."""
    mask = _umask()
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
