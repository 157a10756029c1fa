"""Hostile names and texts, which reach cards, pages, tables and terminals."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from fuzz import Called, call
from fuzz_cases import Inputs
from hostile import Hostile, Prepare
from tiny_language import write_lines

import mnemotomy as mt
from mnemotomy.core.yaml import read_yaml, write_yaml

MARKUP = {
    "an image with code": "<img src=x onerror=alert(1)>",
    "a script": "<script>alert(1)</script>",
    "a heading": "a\n\n# Approved",
    "a row of a table": "a | b\n| --- | --- |\n| c | d |",
    "a link": "[free](javascript:alert(1))",
    "a fence": "a\n```\n<b>out</b>\n```",
    "front matter": "a\n---\nlicense: mit\n---",
    "a comment": "<!-- a --> <b>b</b> -->",
    "an entity": "&lt;script&gt; <svg/onload=alert(1)>",
}
FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", '=HYPERLINK("http://x","y")', "\t=1", "\r=1"]
ESCAPES = {
    "a colour": "\x1b[31mred\x1b[0m",
    "a title": "\x1b]0;owned\x07",
    "a cleared screen": "\x1b[2J\x1b[H",
    "a link of a terminal": "\x1b]8;;http://x\x1b\\y",
    "a carriage return": "good\rbad",
    "a backspace": "bad\b\b\bgood",
    "text backwards": "\u202egpj.exe",
    "a single-character escape": "\x9b31m",
}


def names(i: Inputs) -> Iterator[Hostile]:
    """Texts that reach cards, pages, tables and terminals."""
    applying = ["apply", "r.yaml", "out"]
    auditing = [
        "audit",
        i("plain"),
        i("plain"),
        "out",
        "--forget",
        "f",
        "--retain",
        i("retain.jsonl"),
        "--only",
        "greedy",
        "--plain",
    ]
    for name, text in MARKUP.items():
        refused = "not a valid name" if "\n" in text else None
        yield Hostile("markup in cards", f"concept: {name}", applying, concept(i, text), refused, card)
        yield Hostile("markup in cards", f"file: {name}", applying, named_file(i, text), None, card)
        yield Hostile("markup in reports", name, auditing, questions(i, text), None, page)
    for text in FORMULAS:
        arguments = ["trace", "m", i("model"), "--csv", "t.csv"]
        yield Hostile("formulas in tables", text, arguments, moments(i, text), None, table)
    for name, text in ESCAPES.items():
        rows = [{"subject": "Osaka", "answer": text, "contexts": [f"Osaka lies in {text} ."]}]

        def stored(folder: Path, rows: list[dict[str, object]] = rows) -> None:
            shutil.copy(i("facts.db"), folder / "s.db")
            write_lines(folder / "f.jsonl", rows)
            call(["facts", "import", "s.db", "f.jsonl"], folder, 30)

        searching = ["facts", "search", "s.db", "Osaka"]
        yield Hostile("escapes on a terminal", f"fact: {name}", searching, stored, None, shown(text))
        yield Hostile("escapes on a terminal", f"concept: {name}", applying, concept(i, text), "not a valid name")
        missing = ["collect", i("model"), "--concept", f"a={text}", "--reference", i("retain.jsonl"), "-o", "out"]
        yield Hostile("escapes on a terminal", f"file: {name}", missing, refused="does not exist")


def concept(i: Inputs, name: str) -> Prepare:
    """A recipe whose concept has the name."""
    fields = i.edit_recipe(concepts={name: i("forget.jsonl")}, erase=[name])
    return lambda folder: (folder / "r.yaml").write_text(write_yaml(fields))


def named_file(i: Inputs, text: str) -> Prepare:
    """A recipe whose concept is in a file of that name."""

    def prepare(folder: Path) -> None:
        name = text.replace("/", "∕") + ".jsonl"
        shutil.copy(i("forget.jsonl"), folder / name)
        (folder / "r.yaml").write_text(write_yaml(i.edit_recipe(concepts={"a": name}, erase=["a"])))

    return prepare


def card(folder: Path, called: Called) -> str | None:
    _, front, body = (folder / "out" / "README.md").read_text().split("---\n", 2)
    if set(read_yaml(front)) != {"base_model", "library_name", "tags"}:
        return f"other front matter: {front}"
    inside = re.sub(r"```.*?```|`[^`\n]*`", "", body, flags=re.DOTALL)
    if re.search(r"<(?!/?(details|summary|br|sub|sup)\b)[a-z!/]", inside, re.IGNORECASE):
        return f"HTML in the card: {inside}"
    if re.search(r"^# Approved|^\| c \||^license|(?<!\\)\]\(javascript", inside, re.MULTILINE):
        return f"markup in the card: {inside}"
    return None


def questions(i: Inputs, text: str) -> Prepare:
    return lambda folder: write_lines(
        folder / "f", [{"question": f"{text} {n} is in", "answer": text} for n in range(3)]
    )


def page(folder: Path, called: Called) -> str | None:
    """No element but those of the page itself, and no markup in the Markdown."""
    html = (folder / "out" / "audit.html").read_text()
    if re.search(r"<(img|svg/|b>)|<script>alert", html):
        return f"HTML in the page: {html}"
    written = (folder / "out" / "deletion-report.md").read_text()
    if re.search(r"<(img|script|svg|b>|!--)|^# Approved|^license|(?<!\\)\]\(javascript", written, re.MULTILINE):
        return f"markup in the report: {written}"
    return None


def moments(i: Inputs, name: str) -> Prepare:
    """Moments of a concept of that name."""
    return lambda folder: mt.Moments.load(i("moments.safetensors")).group({name: ["a"]}).save(folder / "m")


def table(folder: Path, called: Called) -> str | None:
    cells = [cell for row in csv.reader(io.StringIO((folder / "t.csv").read_bytes().decode())) for cell in row]
    found = [one for one in cells if one.startswith(("=", "+", "@", "\t", "\r")) or re.match(r"-(?![\d.])", one)]
    return f"a formula: {found}" if found else None


def shown(text: str) -> Callable[[Path, Called], str | None]:
    kept = re.sub("[\x00-\x1f\x7f-\x9f\u202e]", "", text)
    return lambda folder, called: None if kept[:3] in called.out or kept[-3:] in called.out else f"lost: {called.out!r}"
