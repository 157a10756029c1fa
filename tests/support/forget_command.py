"""``mnemotomy forget`` on the three cities, with few trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from mnemotomy.cli import app

OPTIONS = ("--system", "", "--date", "", "--no-two-sided")


def forget(*arguments: str, model: str = "model", trials: int = 3, typed: str | None = None) -> Result:
    template = OPTIONS[:-1] if "--facts" not in arguments else ()  # facts are asked without one
    whole = ["forget", model, "out", "--trials", str(trials), "--no-two-sided", *template, *arguments]
    return CliRunner().invoke(app, whole, input=typed, catch_exceptions=False)


def record(out: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(out, "mnemotomy.json").read_text())
    return found
