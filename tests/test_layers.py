"""Imports point down, and no module imports one that imports it."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_imports_point_down():
    pytest.importorskip("importlinter", reason="import-linter is a development tool")
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def _modules(*roots: Path) -> dict[str, Path]:
    """Every module below the roots, by its full name."""
    found = {}
    for root in roots:
        for file in root.rglob("*.py"):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def _imports(files: dict[str, Path]) -> dict[str, set[str]]:
    """What each module imports of the others, anywhere in it: inside functions and for types alone, too."""
    graph: dict[str, set[str]] = {}
    for name, file in files.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{file} imports relatively"
                wanted = [f"{node.module}.{one.name}" for one in node.names]
                graph[name] |= {one if one in files else str(node.module) for one in wanted}
            elif isinstance(node, ast.Import):
                graph[name] |= {one.name for one in node.names}
        graph[name] &= files.keys() - {name}
    return graph


def _cycle(files: dict[str, Path]) -> list[str]:
    """Some modules that import each other in a circle; none where there is no circle."""
    try:
        TopologicalSorter(_imports(files)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_one_that_imports_it():
    files = _modules(ROOT / "src", ROOT / "experiments" / "src")
    assert len(files) > 200
    assert _cycle(files) == []


def test_circles_are_found_wherever_an_import_stands(tmp_path: Path):
    def package(**sources: str) -> dict[str, Path]:
        for name, source in sources.items():
            (tmp_path / "p" / f"{name}.py").write_text(source)
        return _modules(tmp_path)

    (tmp_path / "p").mkdir()
    start = {"__init__": "", "a": "import p.b", "b": "import os\nfrom p.c import x", "c": "x = 1"}
    assert _cycle(package(**start)) == []
    assert set(_cycle(package(c="def f():\n    from p import a"))) == {"p.a", "p.b", "p.c"}
    assert set(_cycle(package(c="if TYPE_CHECKING:\n    from p.b import y"))) == {"p.b", "p.c"}
    assert _cycle(package(c="x = 1")) == []
