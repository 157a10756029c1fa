"""The whole demo: both parts, the figures and the report."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import mnemotomy as mt
from mnemotomy.demo.digits import DigitsConfig, digits_demo
from mnemotomy.demo.language import LanguageConfig, language_demo


def run_demo(out_dir: Path, *, seed: int = 0, report: bool = True) -> dict[str, Any]:
    """Run both parts and write ``demo.json`` and, with ``report``, the figures and ``report.html``.

    Args:
        out_dir: for the results; the language model is cached in its ``models`` folder.
        seed: of both parts.
        report: whether to write the report.

    Returns:
        The numbers: ``digits``, ``language``, ``seconds``, ``seed`` and ``versions``.
    """
    start = time.perf_counter()
    digits, language = DigitsConfig(seed=seed), LanguageConfig(seed=seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads help small matrices little, and hurt on shared cores
    try:
        results: dict[str, Any] = {
            "digits": {**digits_demo(digits), "config": asdict(digits)},
            "language": language_demo(language, out_dir / "models"),
            "seed": seed,
            "versions": mt.versions(),
        }
    finally:
        torch.set_num_threads(threads)
    results["seconds"] = round(time.perf_counter() - start, 1)
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "demo.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    if report:
        from mnemotomy.demo.show import write_report

        write_report(results, out_dir)
    return results
