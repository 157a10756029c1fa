"""Files and folders are written whole or not at all, also when the process is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tiny_language import save_qwen
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.core.errors import DataError
from mnemotomy.core.files import check_replaceable, output_file, replacing_folder, write_text
from mnemotomy.core.temporary import remove_abandoned


def _write_and_fail(temporary: Path) -> None:
    (temporary if temporary.is_file() else temporary / "x").write_text("new")
    temporary.parent.write_text("no folder can be written to")


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from mnemotomy.core import files, temporary

    folder, place, atomic = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
    if not atomic:
        temporary.exchange = lambda *_: False
    seen = [0]

    def kill(event, arguments):
        if event in ("os.rename", "ctypes.dlopen", "shutil.rmtree"):
            seen[0] += 1
            if seen[0] == place:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill)
    with files.replacing_folder(folder) as inside:
        (inside / "x").write_text("new")
"""


def test_a_failed_write_leaves_the_old_content(tmp_path: Path):
    file, folder = tmp_path / "f.txt", tmp_path / "d"
    with output_file(file) as temporary:
        temporary.write_text("old")
    with replacing_folder(folder) as temporary:
        (temporary / "x").write_text("old")
    for replacing, target in ((output_file, file), (replacing_folder, folder)):
        with pytest.raises(IsADirectoryError), replacing(target) as temporary:
            _write_and_fail(temporary)
    assert file.read_text() == (folder / "x").read_text() == "old"
    with replacing_folder(folder) as temporary:
        (temporary / "y").write_text("new")
    assert [path.name for path in folder.iterdir()] == ["y"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "f.txt"]


@pytest.mark.parametrize("atomic", [True, False])
def test_a_folder_that_cannot_be_replaced_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool
):
    folder = tmp_path / "d"
    with replacing_folder(folder) as temporary:
        (temporary / "x").write_text("old")
    replace = os.replace

    def interrupted(source: Path, target: Path) -> None:
        if Path(target) == folder and "moved" not in str(source):
            raise KeyboardInterrupt
        replace(source, target)

    if not atomic:
        monkeypatch.setattr("mnemotomy.core.temporary.exchange", lambda *_: False)
        monkeypatch.setattr(os, "replace", interrupted)
    else:
        monkeypatch.setattr("mnemotomy.core.temporary.exchange", lambda *_: interrupted(Path("new"), folder))
    with pytest.raises(KeyboardInterrupt), replacing_folder(folder) as temporary:
        (temporary / "x").write_text("new")
    assert (folder / "x").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_kill_leaves_the_old_folder_or_the_new_one(tmp_path: Path, place: int, atomic: bool):
    folder = tmp_path / "d"
    with replacing_folder(folder) as temporary:
        (temporary / "x").write_text("old")
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), str(place), str(atomic)]
    subprocess.run(command, check=False, timeout=120)
    if atomic:
        assert (folder / "x").read_text() in ("old", "new")
    remove_abandoned(folder)
    assert (folder / "x").read_text() in ("old", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path):
    with replacing_folder(tmp_path / "d") as first, output_file(tmp_path / "f") as file:
        with replacing_folder(tmp_path / "d") as second:
            (second / "x").write_text("second")
        (first / "x").write_text("first")
        file.write_text("whole")
    assert (tmp_path / "d" / "x").read_text() == "first"
    assert (tmp_path / "f").read_text() == "whole"


def test_a_link_to_a_folder_stays_one(tmp_path: Path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for content in ("new", "newer"):
        with replacing_folder(link) as temporary:
            (temporary / "x").write_text(content)
        assert (tmp_path / "elsewhere" / "x").read_text() == content
        assert link.is_symlink()


def test_the_place_one_works_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: path.name == "volume")
    with pytest.raises(DataError, match="cannot be replaced as a whole"):
        check_replaceable(tmp_path / "volume", "config.json")
    monkeypatch.chdir(tmp_path / "volume")
    for folder in (Path(), tmp_path / "volume"):
        with pytest.raises(DataError, match="cannot be replaced as a whole; name a folder inside it"):
            check_replaceable(folder, "config.json")


@pytest.mark.parametrize("name", ["moments.safetensors", "edit.safetensors", "tokenizer-notes.txt", "probe.model"])
def test_what_is_no_part_of_a_model_is_not_replaced(tmp_path: Path, name: str):
    for file in ("config.json", "model-00001-of-00002.safetensors", "tokenizer.json", "chat_template.jinja"):
        (tmp_path / file).write_text("")
    check_replaceable(tmp_path, "config.json")
    (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=f"did not write, such as '{name}'"):
        check_replaceable(tmp_path, "config.json")


def test_where_nothing_can_be_written_is_said_before(tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="name a file"):
        write_text(tmp_path / "folder", "x")
    with pytest.raises(DataError, match="lies below"):
        check_replaceable(tmp_path / "file" / "a" / "b", "config.json")
    check_replaceable(tmp_path / "new" / "a", "config.json")
    for target, why in (("folder", "is a folder"), ("file/x.json", "lies below")):
        refused = CliRunner().invoke(app, ["methods", "--json", str(tmp_path / target)])
        assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert why in refused.stderr
    for fine in ("-", str(tmp_path / "new" / "x.json"), str(tmp_path / "file")):
        assert CliRunner().invoke(app, ["methods", "--json", fine]).exit_code == 0


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path):
    save_qwen(tmp_path / "made")
    mt.save_model(mt.load_model(tmp_path / "made"), tmp_path / "saved", extra={"a.txt": "a"})
    with replacing_folder(tmp_path / "nested") as temporary:
        (temporary / "deep").mkdir(mode=0o700)
    (tmp_path / "plain").write_text("")
    (tmp_path / "plain folder").mkdir()
    modes = {path.stat().st_mode for path in (tmp_path / "saved").iterdir()}
    assert modes == {(tmp_path / "plain").stat().st_mode}
    folders = [tmp_path / name for name in ("plain folder", "saved", "nested", "nested/deep")]
    assert len({path.stat().st_mode for path in folders}) == 1


def test_a_device_is_written_to_and_not_replaced():
    if not Path("/dev/null").is_char_device():
        pytest.skip("there is no /dev/null here")
    write_text("/dev/null", "gone")
    assert Path("/dev/null").is_char_device()
