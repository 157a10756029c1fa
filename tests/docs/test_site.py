"""The site builds strictly, without the network, and its generated pages are complete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mnemotomy as mt

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_outside(tmp_path: Path) -> None:
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "reference" / "api.html").read_text(encoding="utf-8")
    assert not [name for name in mt.__all__ if f'.{name}"' not in api and name != "figures"]
    cli = (tmp_path / "reference" / "cli.html").read_text(encoding="utf-8")
    assert all(f'id="mnemotomy-{name}"' in cli for name in ("forget", "audit", "trace", "facts", "facts-add"))
    assert ">--retain FILE</code>" in cli
    schema = (tmp_path / "reference" / "recipe-schema.html").read_text(encoding="utf-8")
    assert ">max_length</code>" in schema
    assert "Validator" not in schema
    loaded = r'(?:<script[^>]+src|<link[^>]+rel="stylesheet"[^>]+href|<img[^>]+src)="https?://'
    outside = [page.name for page in tmp_path.rglob("*.html") if re.search(loaded, page.read_text(encoding="utf-8"))]
    assert not outside
