"""Continuous integration and the container call what the repository has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mnemotomy.core.yaml import read_yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def jobs(path: Path) -> dict[str, Any]:
    return dict(read_yaml(path.read_text(encoding="utf-8"))["jobs"])


def commands(path: Path) -> list[str]:
    return [step["run"] for job in jobs(path).values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_targets_that_exist(path: Path) -> None:
    called = [found for line in commands(path) for found in re.findall(r"make ([a-z-]+)", line)]
    assert called
    assert set(called) <= TARGETS
    for line in commands(path):
        assert all((ROOT / name).exists() for name in re.findall(r"tests/[\w./]+", line))
    for job in jobs(path).values():
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])


NODE24 = {"checkout": 5, "setup-python": 6, "upload-artifact": 6, "download-artifact": 7}
"""The first versions of GitHub's actions that run on Node 24; runners no longer have Node 20."""


def test_actions_run_on_todays_runners() -> None:
    found = [use for path in WORKFLOWS for use in re.findall(r"actions/([a-z-]+)@v(\d+)", path.read_text("utf-8"))]
    assert {name for name, _ in found} == set(NODE24)
    assert all(int(version) >= NODE24[name] for name, version in found)


def test_every_part_is_checked_on_every_python() -> None:
    (path,) = [path for path in WORKFLOWS if path.stem == "ci"]
    assert {"make lint", "make test", "make build", "make docs"} <= {" ".join(c.split()[:2]) for c in commands(path)}
    assert jobs(path)["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]


def test_publishing_holds_no_secret() -> None:
    (path,) = [path for path in WORKFLOWS if path.stem == "release"]
    assert jobs(path)["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in path.read_text(encoding="utf-8")


def test_the_container_copies_what_exists_and_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in copied)
    kept = set((ROOT / ".dockerignore").read_text(encoding="utf-8").split())
    assert {f"!{name}" for name in copied} <= kept
    last = [line.split()[1] for line in lines if line.startswith("USER ")][-1]
    assert last not in ("root", "0")
    assert not [line for line in lines[lines.index(f"USER {last}") :] if line.startswith(("RUN", "COPY"))]


def test_the_demo_needs_no_tools_of_developers() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^demo: \$\(BASE\)", makefile, re.MULTILINE)
    recipe = re.search(r"^\$\(BASE\):.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    assert "[dev]" not in recipe[1]
    assert "experiments" not in recipe[1]
