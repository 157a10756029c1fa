"""``mnemotomy edit``: show, apply and combine saved edits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mnemotomy.cli.options import Device, Force, OutDir, TrustCode
from mnemotomy.cli.outcome import console, emit_json, json_option, one_line_errors, say
from mnemotomy.core.errors import ConfigurationError

edit = typer.Typer(no_args_is_help=True)

Saved = Annotated[Path, typer.Argument(metavar="EDIT", help="A file from 'mnemotomy apply --as edit'.")]


@edit.callback()
def _edit() -> None:
    """Show, apply and combine saved edits.

    \b
    Example:
      mnemotomy apply recipe.yaml alice.safetensors --as edit
      mnemotomy edit show alice.safetensors
      mnemotomy edit apply alice.safetensors Qwen/Qwen3-0.6B edited-model --strength 0.5
      mnemotomy edit combine both.safetensors alice.safetensors bob.safetensors=0.5
    """


@edit.command()
@one_line_errors()
def show(saved: Saved, json_: Annotated[str | None, json_option("what is shown")] = None) -> None:
    """Show an edit's origin, its model, and its size at each site.

    \b
    Example:
      mnemotomy edit show alice.safetensors
    """
    from mnemotomy.core.files import check_no_input
    from mnemotomy.recipe.saved_edits import inspect_edit

    if json_ is not None:
        check_no_input(json_, [saved])
    found = inspect_edit(saved)
    if json_ is not None:
        emit_json(found, json_)
    if json_ != "-":
        _print(found)


@edit.command("apply")
@one_line_errors()
def apply_(
    saved: Saved,
    model: Annotated[str, typer.Argument(help="The edit's model: a folder, a .gguf file, or a hub id.")],
    out_dir: OutDir,
    strength: Annotated[float, typer.Option(help="The factor of the edit.")] = 1.0,
    untie: Annotated[bool, typer.Option("--untie", help="Give a tied weight a copy of its own.")] = False,
    dtype: Annotated[
        str | None, typer.Option(help="The model's: float32, bfloat16, float16 or float64; default: the edit's own.")
    ] = None,
    device: Device = "cpu",
    trust_remote_code: TrustCode = False,
    force: Force = False,
) -> None:
    """Add a saved edit to its model, and save the result.

    from_pretrained loads the folder, which also contains the record and a model card.

    \b
    Example:
      mnemotomy edit apply alice.safetensors Qwen/Qwen3-0.6B edited-model --strength 0.5
    """
    from mnemotomy.recipe.saved_edits import apply_edit

    record = apply_edit(saved, model, out_dir, strength=strength, untie=untie, dtype=dtype, device=device, force=force)
    say(f"{out_dir}: edited {len(record['sites'])} sites, saved in {sum(record['seconds'].values()):.1f} s")


@edit.command()
@one_line_errors()
def combine(
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    parts: Annotated[list[str], typer.Argument(metavar="EDIT[=WEIGHT]...", help="Edits of one model.")],
) -> None:
    """Sum edits of one model, each times its weight (default: 1).

    \b
    Example:
      mnemotomy edit combine both.safetensors alice.safetensors bob.safetensors=0.5
    """
    from mnemotomy.recipe.saved_edits import combine_edits

    combined = combine_edits(out, _weights(parts))
    say(f"{out}: {len(parts)} edits, {len(combined.sites())} sites")


def _weights(parts: list[str]) -> dict[str | Path, float]:
    """The weight of each file in ``EDIT=WEIGHT`` arguments; an existing file of that name counts as a file.

    Raises:
        ConfigurationError: a weight is not a finite number, or a file is given twice.
    """
    import math

    found: dict[str | Path, float] = {}
    for part in parts:
        name, equals, number = part.rpartition("=")
        if not equals or Path(part).is_file():
            name, number = part, "1"
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            raise ConfigurationError(f"{part!r}: {number!r} is not a finite number; give a weight as in EDIT=0.5")
        if name in found:
            raise ConfigurationError(f"{name} is given twice; give it once, with the sum of its weights")
        found[name] = weight
    return found


def _print(found: dict[str, Any]) -> None:
    from mnemotomy.report.model_card import parameters_of
    from mnemotomy.report.table import Table

    about = found.get("about", {})
    say(f"for the model with the fingerprint {found['fingerprint']}")
    if "recipe_hash" in about:
        say(f"from {about.get('recipe', {}).get('model', '?')}, recipe {about['recipe_hash'][:12]}")
    for term in found["terms"]:
        strength = term.get("strength", 1.0)
        shown = "a strength per site" if isinstance(strength, dict) else f"strength {strength:g}"
        made = [f"{name} {parameters_of(term[name])}" for name in ("cut", "filter") if name in term]
        named = ", ".join(term.get("concepts", [])) or term.get("method", "tensors")
        say("; ".join([f"{named}: {shown}", *made]))
    norms = about.get("weight_norms", {})
    rows = []
    for one in found["sites"]:
        share = f"{one['norm'] / norms[one['site']]:.4g}" if norms.get(one["site"]) else ""
        rows.append([one["site"], " × ".join(map(str, one["shape"])), f"{one['norm']:.4g}", share])
    Table(["site", "shape", "‖ΔW‖", "‖ΔW‖/‖W‖"], rows).print(console())
