"""The whole demo: digits and a language model, the figures and the report."""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import mnemotomy as mt
from mnemotomy.demo.digits import DigitsConfig, digits_demo
from mnemotomy.demo.kept import Kept
from mnemotomy.demo.language import LanguageConfig, language_demo
from mnemotomy.demo.pretrained import UnreachableError, load_pretrained
from mnemotomy.demo.real_world import RealConfig, real_demo
from mnemotomy.demo.written import write_whole


def run_demo(out_dir: Path, *, seed: int = 0, report: bool = True, small_world: bool = False) -> dict[str, Any]:
    """Run both parts and write ``demo.json``, ``tables.md`` and, with ``report``, the figures and ``report.html``.

    Args:
        out_dir: for the results; its ``models`` folder keeps models and finished stages for the next run.
        seed: of both parts.
        report: whether to write the report.
        small_world: train a small language model instead of taking a pretrained one, which is also done where none
            can be had.

    Returns:
        The numbers: ``digits``, ``real`` or ``language`` (the small world), ``seconds``, ``seed`` and ``versions``.
    """
    from mnemotomy.demo.show import markdown, write_report

    start = time.perf_counter()
    digits = DigitsConfig(seed=seed)
    with _single_threaded():
        kept = Kept(out_dir / "models", {"config": asdict(digits), "versions": mt.versions()})
        found = kept("digits", lambda: digits_demo(digits))
    results: dict[str, Any] = {
        "digits": {**found, "config": asdict(digits)}, "seed": seed, "versions": mt.versions()
    }  # fmt: skip
    results |= _language_part(out_dir / "models", seed, small_world)
    results["seconds"] = round(time.perf_counter() - start, 1)
    out_dir.mkdir(parents=True, exist_ok=True)
    write_whole(out_dir / "demo.json", json.dumps(results, indent=1))
    write_whole(out_dir / "tables.md", markdown(results))
    if report:
        write_report(results, out_dir)
    return results


def _language_part(models: Path, seed: int, small_world: bool) -> dict[str, Any]:
    if not small_world:
        try:
            return {"real": real_demo(RealConfig(seed=seed), load_pretrained(models), models)}
        except UnreachableError as error:
            warnings.warn(f"no pretrained model: {error}; a small one is trained instead", stacklevel=3)
    with _single_threaded():
        return {"language": language_demo(LanguageConfig(seed=seed), models)}


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """More threads help small matrices little, and hurt on shared cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
