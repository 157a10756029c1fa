"""A report of made-up findings, and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnemotomy.audit.base import Finding, Interval
from mnemotomy.audit.report import Report
from mnemotomy.audit.verdict import verdict

RECORD: dict[str, Any] = {
    "about": {}, "models": {}, "data": {"forget": "a hash"}, "questions": {"forget": 1}, "settings": {"seed": 0},
    "versions": {}, "asked": "questions",
}  # fmt: skip


def page(folder: Path, *findings: Finding) -> str:
    Report(verdict(findings, yardstick=False), findings, {}, (), RECORD).save(folder)
    return (folder / "audit.html").read_text(encoding="utf-8")


def finding(**curves: dict[str, float]) -> Finding:
    means = {"before": Interval(1.0, 0.9, 1.0), "after": Interval(0.0, 0.0, 0.1), "floor": Interval(0.0, 0.0, 0.1)}
    return Finding("greedy", "Asked plainly", "asking", "paper", "loss", means, Interval(0.0, 0.0, 0.1), "It is gone.",
                   curves=curves)  # fmt: skip
