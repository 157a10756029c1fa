"""``mnemotomy methods``: every unlearning method, its paper and its cost."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mnemotomy.cli.outcome import emit_json, json_option, one_line_errors, say
from mnemotomy.core.errors import ConfigurationError


@one_line_errors()
def methods(
    name: Annotated[list[str] | None, typer.Argument(help="Only these methods, with their settings.")] = None,
    json_: Annotated[str | None, json_option("the methods")] = None,
) -> None:
    """List the unlearning methods with their papers and costs.

    'mnemotomy unlearn' and 'mnemotomy bench tofu' run those for language models, 'mnemotomy bench classwise' those for
    classifiers.

    \b
    Example:
      mnemotomy methods
      mnemotomy methods npo
      mnemotomy methods --json -
    """
    found = listed()
    for wanted in name or ():
        if wanted not in [one["name"] for one in found]:
            raise ConfigurationError(f"there is no method {wanted!r}; 'mnemotomy methods' lists them")
    found = [one for one in found if not name or one["name"] in name]
    if json_ is not None:
        emit_json(found, json_)
    if json_ == "-":
        return
    for models in dict.fromkeys(one["models"] for one in found):
        say(f"for {models}")
        for one in found:
            if one["models"] == models:
                say(f"  {one['name']:22s} {one['family']:12s} {one['cost']}")
                say(f"  {'':22s} {one['title']}: {one['paper']}")
                for setting, default in one["settings"].items() if name else ():
                    say(f"  {'':22s} {setting} = {default}")


def listed() -> list[dict[str, Any]]:
    """For each method ``models``, ``name``, ``title``, ``family``, ``cost``, ``needs``, ``paper`` and ``settings``."""
    from mnemotomy.methods.registry import PACKAGES, methods

    return [
        {
            "models": models,
            "name": kind.name,
            "title": kind.title,
            "family": kind.family,
            "cost": kind.cost,
            "needs": list(kind.needs),
            "paper": kind.paper,
            "settings": {name: repr(value) for name, value in vars(kind()).items()},
        }
        for models in PACKAGES
        for kind in methods(models).values()
    ]
