"""Self-contained HTML pages: text, tables and embedded pictures, without scripts or downloads."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import jinja2

import mnemotomy as mt
from mnemotomy.demo.written import write_whole


@dataclass(frozen=True)
class Picture:
    """An image file with a caption, which is also its alternative text."""

    path: Path
    caption: str

    @property
    def data(self) -> str:
        """The file as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, pictures and tables, in this order."""

    title: str
    paragraphs: Sequence[str] = ()
    pictures: Sequence[Picture] = field(default_factory=tuple)
    tables: Sequence[mt.Table] = field(default_factory=tuple)


def write_page(path: str | Path, title: str, lead: str, sections: Sequence[Section], foot: str) -> None:
    """Write the page as one file."""
    source = resources.files("mnemotomy.demo").joinpath("templates", "page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(source).render(title=title, lead=lead, sections=sections, foot=foot)
    write_whole(path, page)
