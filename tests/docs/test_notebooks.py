"""The notebooks run from top to bottom on a tiny model that knows what they ask, and are kept without outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from taught import teach

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_have_no_outputs(path: Path) -> None:
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert "MNEMOTOMY_PACKAGE" in "".join(code[0]["source"])


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbmake", reason="nbmake is not installed; 'make test-all' installs it")
    rows = []
    for cell in cells(path):
        if "".join(cell["source"]).startswith("%%writefile"):
            rows += [json.loads(line) for line in cell["source"][1:]]
    teach(tmp_path / "model", rows)
    (tmp_path / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbmake", "--nbmake-timeout=900"]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), path.name],
        cwd=tmp_path,
        env={**os.environ, "MNEMOTOMY_MODEL": str(tmp_path / "model"), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
