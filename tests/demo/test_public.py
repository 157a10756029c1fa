"""The demo is written as a user would write it: by the public API alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mnemotomy as mt

MODULES = sorted((Path(__file__).parents[2] / "src" / "mnemotomy" / "demo").glob("*.py"))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_only_public_names_are_used(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            ours = [(one.name, one.asname) for one in node.names if one.name.startswith("mnemotomy")]
            assert ours in ([], [("mnemotomy", "mt")])
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("mnemotomy"):
            assert str(node.module).startswith("mnemotomy.demo")
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_ours(node.value)}
    assert used <= set(mt.__all__)


def _is_ours(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "mt"


def test_every_public_name_is_there() -> None:
    assert len(set(mt.__all__)) == len(mt.__all__)
    assert all(hasattr(mt, name) for name in mt.__all__)
