"""``mnemotomy methods``: every unlearning method, where it comes from and what it costs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mnemotomy.cli.outcome import emit_json, json_option, one_line_errors

CLASSIFIERS, LANGUAGE = "classifiers", "language models"


@one_line_errors()
def methods(
    json_: Annotated[str | None, json_option("the methods")] = None,
) -> None:
    """The unlearning methods for classifiers and for language models: names, papers, cost class.

    Those for language models are run by 'mnemotomy unlearn' and 'mnemotomy bench tofu', those for classifiers by
    'mnemotomy bench classwise'.

    \b
    Example:
      mnemotomy methods
      mnemotomy methods --json -
    """
    found = listed()
    if json_ is not None:
        emit_json(found, json_)
    if json_ == "-":
        return
    for models in (CLASSIFIERS, LANGUAGE):
        typer.echo(f"for {models}")
        for one in found:
            if one["models"] == models:
                typer.echo(f"  {one['name']:22s} {one['family']:12s} {one['cost']}")
                typer.echo(f"  {'':22s} {one['title']}: {one['paper']}")


def listed() -> list[dict[str, Any]]:
    """By method ``models``, ``name``, ``title``, ``family``, ``cost``, ``needs``, ``paper`` and ``settings``."""
    import dataclasses

    from mnemotomy.methods.gradient import GradientMethod
    from mnemotomy.methods.language.registry import LANGUAGE_METHODS
    from mnemotomy.methods.registry import METHODS
    from mnemotomy.methods.retrain import Retrain

    def settings(kind: Any) -> dict[str, str]:
        made = kind()
        return {field.name: repr(getattr(made, field.name)) for field in dataclasses.fields(kind)}

    found: list[dict[str, Any]] = []
    for classifier in METHODS.values():
        gradient = issubclass(classifier, GradientMethod)
        retrains = issubclass(classifier, Retrain)
        found.append(
            {
                "models": CLASSIFIERS,
                "name": classifier.name,
                "title": classifier.title,
                "family": "baseline" if retrains else "gradient" if gradient else "closed form",
                "cost": "training anew" if retrains else "epochs, backwards too" if gradient else "forward passes",
                "needs": [],
                "paper": classifier.paper,
                "settings": settings(classifier),
            }
        )
    found += [
        {
            "models": LANGUAGE,
            "name": kind.name,
            "title": kind.title,
            "family": kind.family,
            "cost": kind.cost,
            "needs": list(kind.needs),
            "paper": kind.paper,
            "settings": settings(kind),
        }
        for kind in LANGUAGE_METHODS.values()
    ]
    return found
