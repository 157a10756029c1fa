"""Text of others on a terminal, in Markdown and in a table program: shown, never obeyed."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: object) -> str:
    """The text with control characters as escapes: terminal sequences, changes of direction, bytes that are no text.

    Line feeds and tabs stay.
    """
    return _CONTROL.sub(lambda match: _escaped(match[0]), str(text))


def one_line(text: object) -> str:
    """``printable``, with every run of white space as one blank."""
    return printable(" ".join(str(text).split()))


def json_text(text: str) -> str:
    """JSON with control characters and halves of surrogate pairs as JSON's own escapes."""
    return _CONTROL.sub(lambda match: match[0] if match[0] in "\n\r" else f"\\u{ord(match[0]):04x}", text)


def markdown(text: object) -> str:
    """One line that Markdown shows as written, also in a cell of a table: no markup, HTML, link or line break."""
    return _MARKDOWN.sub(r"\\\g<0>", html.escape(one_line(text), quote=False))


def code(text: object) -> str:
    """The same between backticks, where only a backtick and a line break have a meaning."""
    return one_line(text).replace("`", "'")


def csv_cell(text: str) -> str:
    """The text, with an apostrophe before what a table program would read as a formula; numbers stay as they are.

    A carriage return becomes a line feed: before Python 3.13, ``csv`` does not quote it, and a row would end there.
    """
    text = f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def _is_number(text: str) -> bool:
    """Also ``-`` for none, percentages, and a mean with its deviation, as -0.1 ± 0.2."""
    try:
        return text == "-" or all(float(part.strip().removesuffix("%")) or True for part in text.split("±"))
    except ValueError:
        return False


def spans(numbers: Iterable[int]) -> list[str]:
    """Whole numbers with neighbours joined: ``0-3`` and ``7``."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][-1] == number - 1:
            found[-1] = [found[-1][0], number]
        else:
            found.append([number])
    return ["-".join(map(str, one)) for one in found]
