"""The README.md of an edited model: what was done to it, how to do it again, and what nobody has shown yet."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
import yaml


def model_card(record: Mapping[str, Any]) -> str:
    """Markdown with YAML front matter, from the record that ``mnemotomy apply`` writes as ``mnemotomy.json``."""
    recipe = record["recipe"]
    front_matter = {
        "base_model": recipe["model"],
        "library_name": "transformers",
        "tags": ["mnemotomy", "model-editing", *(["unlearning"] if recipe["erase"] else [])],
    }
    source = (resources.files("mnemotomy.report") / "templates" / "model_card.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["parameters"] = _parameters
    header = yaml.safe_dump(front_matter, sort_keys=False, allow_unicode=True)
    return environment.from_string(source).render(**record, front_matter=header)


def _parameters(description: Mapping[str, Any]) -> str:
    """A cut or filter as one phrase: ``relative (ratio 1e-06)``."""
    parameters = ", ".join(f"{name} {value}" for name, value in description.items() if name != "kind")
    return f"{description['kind']} ({parameters})" if parameters else str(description["kind"])
