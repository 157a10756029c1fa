"""Every table of the README and of the results is generated, or says why it is not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mnemotomy.cli import app
from mnemotomy.core.errors import ConfigurationError
from mnemotomy_bench.pages.fill import fill, filled, pages, stale
from mnemotomy_bench.pages.tables import tables

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "docs" / "results"


def test_the_tables_are_those_of_the_results() -> None:
    assert not stale(ROOT, tables(RESULTS)), "run 'make docs-tables'"


def test_every_table_of_the_results_is_marked() -> None:
    for page in sorted(RESULTS.glob("*.md")):
        text = re.sub(r"<!-- ([\w-]+) -->\n.*?<!-- /\1 -->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for found in re.finditer(r"^(.*)\n\|.*\n\|---", text, re.MULTILINE):
            assert found[1].startswith("<!-- by hand"), f"{page.name}: {found[0]}"


def test_every_maker_has_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in pages(ROOT))
    assert not [name for name in tables(RESULTS) if f"<!-- {name} -->" not in text]


def test_a_changed_result_changes_the_page(tmp_path: Path) -> None:
    shutil.copytree(RESULTS, tmp_path / "docs" / "results", ignore=shutil.ignore_patterns("*.png"))
    shutil.copy(ROOT / "README.md", tmp_path)
    file = tmp_path / "docs" / "results" / "decouple.json"
    records = json.loads(file.read_text(encoding="utf-8"))
    records[0]["without_store"] = 0.125
    file.write_text(json.dumps(records), encoding="utf-8")
    checked = CliRunner().invoke(app, ["bench", "tables", str(tmp_path), "--check"])
    assert checked.exit_code == 2
    assert "make docs-tables" in checked.output
    page = tmp_path / "docs" / "results" / "README.md"
    assert CliRunner().invoke(app, ["bench", "tables", str(tmp_path)]).output == f"{page}: changed\n"
    assert "| A original | 12.5 ± 0.0 |" in page.read_text(encoding="utf-8")
    assert fill(tmp_path, tables(file.parent)) == []


def test_an_unknown_marker_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no table is called 'sped'"):
        filled("<!-- sped -->\n<!-- /sped -->", {"speed": str})
