"""What is published: the wheel, the source archive, and the commands of a wheel installed outside of the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from tiny_language import save_llama, write_lines

from mnemotomy.core.version import __version__
from mnemotomy.core.yaml import read_yaml

ROOT = Path(__file__).parents[1]
CITIES = {"Kyoto": "Japan", "Paris": "France", "Rome": "Italy"}


def test_the_version_is_the_same_everywhere() -> None:
    assert str(read_yaml((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]) == __version__
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[:1] in ([], [__version__])


def built(folder: Path, *, wheel: bool) -> Path:
    """The archive that pip would get, made without the network."""
    pytest.importorskip("hatchling")
    call = f"import hatchling.build as b; print(b.build_{'wheel' if wheel else 'sdist'}({str(folder)!r}))"
    return folder / ran([sys.executable, "-c", call], ROOT).stdout.split()[-1]


def ran(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A process that knows nothing of this one's paths."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MNEMOTOMY_DATA")}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_the_wheel_is_the_library_with_its_data_and_nothing_else(tmp_path: Path) -> None:
    source = ROOT / "src" / "mnemotomy"
    with zipfile.ZipFile(built(tmp_path, wheel=True)) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    kept = [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert names == {f"mnemotomy/{path.relative_to(source).as_posix()}" for path in kept}


@pytest.mark.slow
def test_the_source_archive_has_no_results_and_no_experiments(tmp_path: Path) -> None:
    archive = built(tmp_path, wheel=False)
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"README.md", "LICENSE", "CITATION.cff", "docs/method.md", "tests/test_package.py"} <= names
    assert not [name for name in names if name.startswith(("experiments/", "docs/results/"))]
    assert archive.stat().st_size < 2**20


@pytest.mark.slow
def test_an_installed_wheel_runs_outside_of_the_checkout(tmp_path: Path) -> None:
    wheel = built(tmp_path, wheel=True)
    ran([sys.executable, "-m", "venv", str(tmp_path / "venv")], tmp_path)
    python = str(tmp_path / "venv" / "bin" / "python")
    ran([python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)], tmp_path)
    # torch and the others come from this environment; .pth files in it, the checkout's too, are not read
    site = Path(ran([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], tmp_path).stdout.strip())
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "others.pth").write_text("\n".join(others), encoding="utf-8")
    command = str(tmp_path / "venv" / "bin" / "mnemotomy")

    work = tmp_path / "work"
    work.mkdir()
    save_llama(work / "model", initializer_range=0.3, max_position_embeddings=512)
    rows = [{"question": f"In which country is {city}?", "answer": country} for city, country in CITIES.items()]
    write_lines(work / "forget.jsonl", rows[:1])
    write_lines(work / "retain.jsonl", rows[1:])
    where = ran([python, "-c", "import mnemotomy; print(mnemotomy.__file__)"], work).stdout
    assert where.startswith(str(site))
    assert ran([command, "--version"], work).stdout == f"mnemotomy {__version__}\n"
    for line in (
        "collect model --concept kyoto=forget.jsonl --reference retain.jsonl -o moments.safetensors",
        "trace moments.safetensors model",
        "forget model forgotten --forget forget.jsonl --retain retain.jsonl --trials 1 --no-two-sided --force --yes",
        "audit model forgotten audit --forget forget.jsonl --retain retain.jsonl --only greedy",
        "facts add facts.db --subject Kyoto --answer Japan",
        "facts search facts.db Kyoto",
    ):
        ran([command, *line.split()], work)
    assert (work / "forgotten" / "config.json").is_file()
    assert (work / "audit" / "audit.html").is_file()


def test_hints_work_before_the_package_is_published() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"pip install ['\"]?mnemotomy", line), f"{path}: {line}"


def test_links_of_the_package_are_complete() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert all(link.startswith("https://") for link in project["urls"].values())
