"""Hostile outputs and links, patterns, templates, numbers and images."""

from __future__ import annotations

import io
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import tiny_images
from fuzz import Called, call
from fuzz_cases import Inputs
from hostile import Hostile, Prepare
from PIL import Image

from mnemotomy.core.yaml import write_yaml


def outputs(i: Inputs) -> Iterator[Hostile]:
    """Where results go: pipes, folders, links, inputs; what lies in a results folder already."""
    collecting = [*i.collecting(), "-o", "out"]
    applying = ["apply", i("edit.yaml"), "out"]
    read: list[bytes] = []

    def piped(folder: Path) -> None:
        os.mkfifo(folder / "out")
        read.clear()
        threading.Thread(target=lambda: read.append((folder / "out").read_bytes()), daemon=True).start()

    def still_piped(folder: Path, called: Called) -> str | None:
        return None if (folder / "out").is_fifo() else "the pipe was replaced"

    def folder_of_others(folder: Path) -> None:
        (folder / "out").mkdir()
        (folder / "out" / "mine").write_text("somebody's")

    def link(to: str, name: str = "out") -> Prepare:
        return lambda folder: (folder / name).symlink_to(to)

    def abandoned_link(folder: Path) -> None:
        """What looks like the remains of a killed run, and leads elsewhere."""
        (folder / f".out.{socket.gethostname()}-4194303.x").symlink_to("../outside")

    def planted(folder: Path) -> None:
        """A cell of an audit that leads out of its folder, found by a first run."""
        made = call(auditing, folder, 60)
        assert made.status == 0, made
        for cell in (folder / "audit" / "readings").iterdir():
            cell.unlink()
            cell.symlink_to(f"../../../outside/{cell.name}")

    auditing = [
        "audit",
        i("model"),
        i("model"),
        "audit",
        "--forget",
        i("forget.jsonl"),
        "--retain",
        i("retain.jsonl"),
        "--only",
        "greedy",
    ]
    for name, arguments, prepare, refused, look in (
        ("moments to a pipe", collecting, piped, None, still_piped),
        ("a table to a pipe", ["methods", "--json", "out"], piped, None, still_piped),
        ("facts to a pipe", ["facts", "export", i("facts.db"), "out"], piped, None, still_piped),
        ("moments over a folder", collecting, folder_of_others, "is a folder", None),
        ("a model over a folder of others", applying, folder_of_others, "did not write", None),
        ("a model through a link to a folder of others", applying, link("../outside"), "did not write", None),
        ("moments through a link to a folder", collecting, link("../outside"), "is a folder", None),
        ("a link in a circle", collecting, link("out"), "out", None),
        ("below a file", [*collecting[:-1], i("edit.yaml") + "/x"], lambda folder: None, "lies below", None),
        ("over its own input", [*collecting[:-1], i("forget.jsonl")], lambda folder: None, "forget.jsonl", None),
        ("over the model that is read", [*applying[:-1], i("model")], lambda folder: None, "model", None),
        ("remains that lead elsewhere", collecting, abandoned_link, None, None),
        ("cells that lead elsewhere", auditing, planted, "leads nowhere", None),
        ("a name of 300 letters", [*collecting[:-1], "x" * 300], lambda folder: None, "", None),
        ("a name with a line break", [*applying[:-1], "a\nb"], lambda folder: None, None, None),
        ("the name of an option", ["facts", "export", i("facts.db"), "--", "-rf"], lambda folder: None, None, None),
        ("up and away", [*applying[:-1], "../outside"], lambda folder: None, "did not write", None),
    ):
        yield Hostile("outputs and links", name, arguments, prepare, refused, look or (lambda folder, called: None))


LOOPS = {
    "two loops": "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
    "a power of powers": "{{ 10 ** 10 ** 10 }}",
    "a text of 10^12": "{{ 'x' * 10**12 }}",
    "a text by joins": "{% for i in range(99999) %}{{ 'a' * 100000 }}{% endfor %}",
    "a text by format": "{{ '%9999999999d' | format(1) }}",
    "a centred text": "{{ 'a' | center(10 ** 13) }}",
    "itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "deep nesting": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "globals of Python": "{{ cycler.__init__.__globals__.os.system('touch ../ran') }}",
    "globals by attr": "{{ (lipsum|attr('__globals__'))['os'].system('touch ../ran') }}",
    "classes of Python": "{{ ''.__class__.__mro__[1].__subclasses__()[99]('../ran', 'w') }}",
    "another file": "{% include '../outside/mine' %}",
}
PATTERNS = [
    "(a|aa)+$b",
    "(.*)*!",
    "((.|..)*)*!",
    "(\\w+\\.?)+!",
    "(?:(?:m|mo|mod)*)*!",
    "(?R)",
    "(",
    "a{99999999}{99999999}",
]
NUMBERS = {
    "--layers": ["0-99999999", "99999999999999999999", "0-9,0-9,1-0", "-1", "1e9"],
    "--batch-size": ["9" * 5000, "-1", "nan"],
    "--max-length": ["0"],
    "--dtype": ["float9999999"],
}


def bounded(i: Inputs) -> Iterator[Hostile]:
    """Templates and patterns that never end, and numbers beyond all bounds."""
    collecting = [*i.collecting(), "-o", "out"]
    for name, text in LOOPS.items():

        def prepare(folder: Path, text: str = text) -> None:
            shutil.copytree(i("model"), folder / "m")
            (folder / "m" / "chat_template.jinja").write_text(text)

        asking = ["collect", "m", *collecting[2:]]
        yield Hostile("chat templates", name, asking, prepare, "template")
    for pattern in PATTERNS:
        yield Hostile("patterns", f"--sites {pattern}", [*collecting, "--sites", pattern], refused="")
    for option, values in NUMBERS.items():
        for value in values:
            yield Hostile("numbers", f"{option} {value[:25]}", [*collecting, option, value], refused="")
    search, ask = ["facts", "search", i("facts.db"), "Kyoto", "-k"], ["ask", i("plain"), i("facts.db"), "Kyoto?"]
    for name, arguments, refused in (
        ("-k of 10^30", [*search, "1" + "0" * 30], None),
        ("a threshold that is no number", [*ask, "--threshold", "nan"], ""),
        ("a length of 10^400", [*collecting, "--max-length", "1" + "0" * 400], None),
        ("10^18 new tokens", [*ask, "--max-new-tokens", "1" + "0" * 18], None),
        (
            "a strength of 10^400",
            ["edit", "apply", i("edit.safetensors"), i("model"), "out", "--strength", "1e400"],
            "",
        ),
    ):
        yield Hostile("numbers", name, arguments, refused=refused)
    for field, value in (
        ("epochs", 10**12),
        ("epochs", 10**400),
        ("batch_size", 10**30),
        ("learning_rate", 1e308),
        ("lora", {"rank": 10**12}),
        ("lora", {"target_modules": "(a|aa)+$b"}),
    ):
        fields = i.method_recipe(method={"name": "npo", "epochs": 1} | {field: value})

        def recipe(folder: Path, fields: dict[str, object] = fields) -> None:
            (folder / "r.yaml").write_text(write_yaml(fields))

        name = f"{field} of {str(value)[:30]}"
        yield Hostile("numbers", name, ["apply", "r.yaml", "out"], recipe)


def pictures(i: Inputs) -> Iterator[Hostile]:
    """Images that are not what their names say, or grow on decoding."""

    def bomb() -> bytes:
        made = io.BytesIO()
        Image.new("1", (30_000, 30_000)).save(made, "PNG", optimize=True)
        return made.getvalue()

    def whole() -> bytes:
        made = io.BytesIO()
        Image.new("L", (16, 16)).save(made, "PNG")
        return made.getvalue()

    contents: dict[str, Callable[[], bytes]] = {
        "a bomb of 900 million pixels": bomb,
        "half a file": lambda: whole()[:40],
        "no bytes": lambda: b"",
        "a pickle": lambda: b"\x80\x04N.",
        "a size of 2^31": lambda: whole()[:16] + b"\x7f\xff\xff\xff" * 2 + whole()[24:],
        "SVG with code": lambda: b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
    }
    for name, make in contents.items():

        def prepare(folder: Path, make: Callable[[], bytes] = make) -> None:
            tiny_images.save(tiny_images.network(), folder / "m")
            for side, label in (("f", "three"), ("r", "four")):
                (folder / side / label).mkdir(parents=True)
                (folder / side / label / "1.png").write_bytes(make())

        calling = ["forget", "m", "out", "--forget", "f", "--retain", "r", "--trials", "1"]
        yield Hostile("images", name, calling, prepare, "1.png")
