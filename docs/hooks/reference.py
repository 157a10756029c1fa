"""Pages that are made while the site is built: the Python API, the command line, and the fields of a recipe."""

from __future__ import annotations

import re
import textwrap
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mkdocs.structure.files import File, Files

import mnemotomy


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    for name, text in {"api": api(), "cli": command_line(), "recipe-schema": recipe_schema()}.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that leave ``docs/`` work in a checkout only: the README's becomes the home page, others plain text."""
    out = "../" * (page.file.src_uri.count("/") + 1)
    markdown = markdown.replace(f"]({out}README.md", f"]({out[3:]}index.md")
    return re.sub(rf"\[([^\]]+)\]\({re.escape(out)}(?!\.\./)[^)]*\)", r"\1", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Code in a sentence is kept on one line where it is short."""
    return re.sub(r"<code>(?=[^<]{1,24}</code>)", '<code class="whole">', html)


def api() -> str:
    """Every public name, by module, from its docstring."""
    parts = ["# Python\n\nAll of these are attributes of `mnemotomy`, by convention `import mnemotomy as mt`.\n"]
    for home, names in mnemotomy._HOMES.items():
        parts.append(f"## {home}\n")
        parts += [f"::: mnemotomy.{home}.{name}\n" for name in names]
    for name, home in mnemotomy._MODULES.items():
        parts.append(f"## {name}\n\n::: mnemotomy.{home}\n")
    return "\n".join(parts)


def command_line() -> str:
    """Every command with its arguments and options."""
    from typer.main import get_command

    from mnemotomy.cli import app

    return "# Command line\n" + "".join(_commands(get_command(app), ["mnemotomy"], None))


def _commands(command: Any, words: list[str], parent: Any) -> list[str]:
    context = command.context_class(command, info_name=words[-1], parent=parent)
    pieces = [re.sub(r"{(\w+)}", lambda found: found[1].upper(), one) for one in command.collect_usage_pieces(context)]
    usage = " ".join([*words, *pieces])
    parts = [f"\n{'#' * min(len(words) + 1, 4)} {' '.join(words)}\n", f"\n```text\n{usage}\n```\n"]
    for paragraph in (command.help or "").split("\n\n"):
        marked, _, example = paragraph.lstrip("\b\n").partition("Example:\n")
        shown = f"```sh\n{textwrap.dedent(example)}\n```" if example else _text(marked)
        parts.append(f"\n{shown}\n")
    records = [one.get_help_record(context) for one in command.get_params(context)]
    rows = [f"| `{name}` | {_text(what)} |\n" for name, what in filter(None, records)]
    parts += ["\n| argument or option | |\n|---|---|\n", *rows]
    for name, sub in getattr(command, "commands", {}).items():
        if not sub.hidden and name not in ("bench",):  # a distribution of its own
            parts += _commands(sub, [*words, name], context)
    return parts


def _text(text: str) -> str:
    """One line that Markdown shows as it is."""
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", " ".join(text.split()))


def recipe_schema() -> str:
    """The fields of both kinds of recipe."""
    from mnemotomy.recipe.schema import EditRecipe, MethodRecipe

    parts = ["# Fields of a recipe\n\nWhat they mean is in [Recipes](../recipes.md).\n"]
    for title, kind in (("An edit", EditRecipe), ("A method", MethodRecipe)):
        parts.append(f"\n## {title}\n\n| field | type | default |\n|---|---|---|\n")
        for name, found in kind.model_fields.items():
            default = "required" if found.is_required() else f"`{found.get_default()!r}`"
            parts.append(f"| `{name}` | {_name(found.annotation)} | {default} |\n")
    return "".join(parts)


def _name(annotation: Any) -> str:
    """A type in words: what it may be, without the validators."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _name(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_name(part) for part in parts))
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if parts:
        return f"{_name(origin)} of {', '.join(_name(part) for part in parts if part is not Ellipsis)}"
    return {type(None): "none", Any: "anything"}.get(annotation, f"`{getattr(annotation, '__name__', annotation)}`")
