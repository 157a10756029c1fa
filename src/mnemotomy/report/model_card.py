"""The README.md of a model after surgery: what was done, how to repeat it, and what has not been shown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from mnemotomy.core.printable import code, markdown, one_line
from mnemotomy.core.yaml import write_yaml


def model_card(record: Mapping[str, Any]) -> str:
    """Markdown with YAML front matter, from the record in ``mnemotomy.json``.

    Args:
        record: its ``kind`` is ``edit`` or ``method`` (of a recipe), ``forget``, ``saved edit``, or ``metabolism``.
    """
    edits = record["kind"] in ("edit", "saved edit")
    front_matter = {
        "base_model": record["model"]["name"],
        "library_name": "peft" if "adapter" in record else "transformers",
        "tags": ["mnemotomy", *(["model-editing"] if edits else []), *(["unlearning"] if _forgets(record) else [])],
    }
    source = (resources.files("mnemotomy.report") / "templates" / "model_card.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else markdown(value),
    )
    environment.filters["parameters"] = parameters_of
    environment.filters["code"] = lambda value: Markup(code(value))  # between backticks
    environment.filters["shell"] = lambda value: Markup(shlex.quote(one_line(value)))  # in a fence
    derived = {
        "recipe_hash": record.get("recipe_hash"),
        "files": record.get("files", {}) | ({"retain set as used": kept} if (kept := record.get("retained")) else {}),
        "guards": record.get("guards", {"losses": {}, "concerns": []}),
        "earlier": [{"scores": None, **one, "name": request_name(one)} for one in record.get("earlier", [])],
        "adapter": record.get("adapter"),
        "cautions": record.get("cautions", []),
        "images": record.get("of") == "image classifier",
        "taken": record.get("taken for", {}),
        "untied": record.get("untied", []),
        "front_matter": Markup(write_yaml(front_matter)),
        "forgets": _forgets(record),
        "settings": _settings(record),
        "terms": terms_of(record.get("edit", {"terms": []})),
    }
    return environment.from_string(source).render(**{**record, **derived})


def request_name(request: Mapping[str, Any]) -> str:
    """An earlier request by its size, hashes, classes and date; its files' names may be those of people."""
    count = request.get("counts", {}).get("examples", {}).get("forget")
    files = {role: some for role, some in request.get("files", {}).items() if role not in ("retain", "reference")}
    found = [digest[:12] for some in files.values() for digest in some.values() if digest]
    parts = [f"{count} example{'s' if count > 1 else ''}"] if count else []
    parts += [*request.get("asked", {}).get("labels", []), *(f"SHA-256 {digest}" for digest in found)]
    parts += [request["date"]] if "date" in request else []
    return ", ".join(parts) or str(request["kind"])


def _forgets(record: Mapping[str, Any]) -> bool:
    if record["kind"] == "edit":
        return bool(record["recipe"]["erase"])
    strengths = (_lowest(term.get("strength", 1.0)) for term in terms_of(record.get("edit", {"terms": []})))
    return record["kind"] != "saved edit" or min(strengths) < 0


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    if record["kind"] == "method":
        return {name: value for name, value in record["recipe"]["method"].items() if name != "name"}
    return dict(record.get("config", {}))


def terms_of(description: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The terms of an edit's description, as a flat list."""
    if "terms" not in description:
        return [dict(description)]
    return [term for inner in description["terms"] for term in terms_of(inner)]


def _lowest(strength: float | Mapping[str, float]) -> float:
    return min(strength.values(), default=0.0) if isinstance(strength, Mapping) else strength


def parameters_of(description: Mapping[str, Any]) -> str:
    """A cut or filter as one phrase: ``relative (ratio 1e-06)``."""
    parameters = ", ".join(f"{name} {value}" for name, value in description.items() if name != "kind")
    return f"{description['kind']} ({parameters})" if parameters else str(description["kind"])
