"""``mnemotomy doctor``: what is installed, on which machine, and how to install what is missing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from mnemotomy.cli.extras import EXTRAS
from mnemotomy.cli.outcome import FAILED, emit_json, json_option, one_line_errors, say

_CALCULATING = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "jaxtyping", "xxhash")
_INTERFACE = ("pydantic", "regex", "ruamel.yaml", "jinja2", "rich", "typer")
REQUIRED = (*_CALCULATING, *_INTERFACE, *(one.package for one in EXTRAS if one.name is None))


@one_line_errors()
def doctor(json_: Annotated[str | None, json_option("the findings")] = None) -> None:
    """Show what is installed, and how to install what is missing.

    Also shows devices and memory. Exits with 2 if a package is missing that every command needs, else with 0.

    \b
    Example:
      mnemotomy doctor
    """
    findings = examine()
    if json_ is not None:
        emit_json(findings, json_)
    if json_ != "-":
        _print(findings)
    if any(missing["required"] for missing in findings["missing"]):
        raise typer.Exit(FAILED)


def examine() -> dict[str, Any]:
    """The findings: ``python``, ``platform``, ``versions``, ``cores``, ``memory_gib``, ``devices``, ``chosen``,
    ``missing``.
    """
    versions = {name: _version(name) for name in ("mnemotomy", *REQUIRED, *(extra.package for extra in EXTRAS))}
    missing = [
        {"package": name, "required": True, "for": "every command", "get": f"pip install {name}"}
        for name in REQUIRED
        if versions[name] is None
    ]
    missing += [
        {"package": extra.package, "required": False, "for": extra.purpose, "get": extra.command}
        for extra in EXTRAS
        if extra.name and versions[extra.package] is None
    ]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory(),
        "devices": _devices(),
        "chosen": _chosen(),
        "missing": missing,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None


def _devices() -> list[dict[str, Any]]:
    """Every device for tensors, with its memory if it has its own."""
    try:
        import torch

        from mnemotomy.core.precision import resolved
    except ImportError:
        return []
    processor = platform.processor() or platform.machine()
    fast = resolved("auto", torch.device("cpu")) == "bf16"
    found: list[dict[str, Any]] = [{"device": "cpu", "name": processor, "bfloat16": fast}]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = round(properties.total_memory / 2**30, 1)
        found.append({"device": f"cuda:{index}", "name": properties.name, "memory_gib": memory})
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU"})
    return found


def _chosen() -> dict[str, Any]:
    """What commands take on this processor unless they are told otherwise."""
    try:
        import torch

        from mnemotomy.core.precision import resolved
    except ImportError:
        return {}
    return {"threads": torch.get_num_threads(), "precision": resolved("auto", torch.device("cpu"))}


def _print(findings: dict[str, Any]) -> None:
    say(f"python {findings['python']} on {findings['platform']}")
    memory = findings["memory_gib"]
    say(f"{findings['cores']} cores, {'unknown' if memory is None else f'{memory} GiB of'} memory")
    for device in findings["devices"]:
        own = f", {device['memory_gib']} GiB" if "memory_gib" in device else ""
        slow = "" if device.get("bfloat16", True) else "; slow at bfloat16, so use float32"
        say(f"{device['device']}: {device['name']}{own}{slow}")
    if chosen := findings["chosen"]:
        passes = "bfloat16" if chosen["precision"] == "bf16" else "float32"
        threads = chosen["threads"]
        how = "as OMP_NUM_THREADS says" if "OMP_NUM_THREADS" in os.environ else "one for each core"
        say(f"chosen: {threads} thread{'' if threads == 1 else 's'} ({how}); passes in {passes} (--precision)")
    for name, found in findings["versions"].items():
        say(f"{name} {found or 'not installed'}")
    for missing in findings["missing"]:
        what = "missing" if missing["required"] else "optional, not installed"
        say(f"{what}: {missing['package']}, for {missing['for']}; install it with: {missing['get']}")
    if not any(missing["required"] for missing in findings["missing"]):
        say("all that forget, audit, chat, trace and facts need for language models is installed")
