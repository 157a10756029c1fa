"""Temporary files and folders beside their target, named by process so that those of a killed run can be removed."""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path

_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux


def temporary_file(target: Path) -> Path:
    """A new file in a new folder beside ``target``, after removing those that killed runs left there.

    The folder is also for what its writer may leave beside the file, as safetensors does.
    """
    file = temporary_folder(target) / target.name
    file.touch()
    return file


def temporary_folder(target: Path) -> Path:
    """A new folder beside ``target``, after removing those that killed runs left there."""
    remove_abandoned(target)
    return Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))


def remove_abandoned(target: Path) -> None:
    """Remove what killed processes left beside ``target``, and restore a folder that they had moved away."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.{re.escape(_host())}-(\d+)\.")
    for path in target.parent.glob(f".{glob.escape(target.name)}.{_host()}-*"):
        found = pattern.match(path.name)
        if found is None or _is_alive(int(found[1])):
            continue
        moved = path / "moved" / target.name
        if moved.exists() and not target.exists():
            os.replace(moved, target)
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def put_folder(folder: Path, target: Path) -> None:
    """Replace ``target`` by ``folder``, in one step if the system can exchange two names.

    If it cannot, the old folder is first moved to a folder beside ``target``, from which ``remove_abandoned`` restores
    it after a kill.
    """
    sync(folder)
    if not target.exists():
        os.replace(folder, target)
    elif exchange(folder, target):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        retired = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
        old = retired / "moved" / target.name
        old.parent.mkdir()
        try:
            os.replace(target, old)
            os.replace(folder, target)
        except BaseException:
            if old.exists() and not target.exists():
                os.replace(old, target)
            raise
        finally:
            shutil.rmtree(retired, ignore_errors=True)
    sync(target.parent, below=False)


def sync(path: Path, *, below: bool = True) -> None:
    """Make the system write a file, or a folder with its content, to the disk."""
    for one in (path, *(path.rglob("*") if below and path.is_dir() else ())):
        if one.is_symlink() or not (one.is_file() or one.is_dir()):
            continue
        with contextlib.suppress(OSError):  # some file systems cannot sync folders
            handle = os.open(one, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def exchange(left: Path, right: Path) -> bool:
    """Swap two names in one step; False if the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # not Linux, or an old C library
        return False
    return bool(rename(_HERE, os.fsencode(left), _HERE, os.fsencode(right), _EXCHANGE) == 0)


def _prefix(target: Path) -> str:
    return f".{target.name}.{_host()}-{os.getpid()}."


def _host() -> str:
    return re.sub(r"[^\w-]", "_", socket.gethostname()) or "here"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
