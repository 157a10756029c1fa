"""Saved edits: inspect one, apply one to its model, combine several."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mnemotomy.core.clock import Clock
from mnemotomy.core.errors import DataError, FingerprintError, TiedWeightsError
from mnemotomy.core.files import check_file, check_no_input, check_replaceable
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.keys import file_digest
from mnemotomy.core.models import check_language_model, load_model, load_tokenizer, quiet_transformers
from mnemotomy.core.modules import tied_parameters as tied
from mnemotomy.core.sources import locate_model, source_of
from mnemotomy.engram.edit import Edit, check_finite, read_about
from mnemotomy.engram.sites import parameter_names, sites_by_name
from mnemotomy.recipe.collecting import check_writable
from mnemotomy.recipe.guarding import Guards
from mnemotomy.recipe.record import RECORDS, earlier_requests, save_with_record, told, warn_of_size
from mnemotomy.report.model_card import terms_of


def inspect_edit(path: str | Path) -> dict[str, Any]:
    """What a saved edit contains: its header, and for each site ``shape`` and Frobenius ``norm``.

    Raises:
        ArtifactError: the file is missing, damaged, or not an edit.
    """
    header, edit = read_about(path), Edit.load(path)
    sites = [{"site": site, "shape": list(delta.shape), "norm": float(delta.norm())} for site, delta in edit.items()]
    return {**header, "terms": terms_of(header["description"]), "sites": sites}


def apply_edit(
    path: str | Path,
    model: str,
    out: str | Path,
    *,
    strength: float = 1.0,
    untie: bool = False,
    dtype: str | None = None,
    device: str = "cpu",
    force: bool = False,
) -> dict[str, Any]:
    """Add a saved edit to its model and save the folder ``out``, all or nothing, with the record and the card.

    Args:
        model: the folder or hub id of its model.
        out: the folder to write; the result of an earlier run is replaced.
        strength: the factor of the edit.
        untie: give a weight that two layers share its own copy.
        dtype: of the model; by default the edit's own, or float32 if unknown.
        force: save the result even if general sentences are lost (``guarding.Guards``).

    Returns:
        What ``mnemotomy.json`` says.

    Raises:
        FingerprintError: the edit belongs to another model.
        ConfigurationError: a guard speaks against the result, and it is not forced.
        MnemotomyError: edit, model or folder are not valid; nothing is written.
    """
    path, out, source, clock = Path(path), Path(out), locate_model(model), Clock()
    check_replaceable(out, RECORDS, [path, source])
    check_writable(out)
    made = read_about(path).get("about", {})
    chosen = dtype or made.get("recipe", {}).get("dtype", "float32")
    with quiet_transformers():
        network, tokenizer = load_model(source, dtype=chosen, device=device), load_tokenizer(source)
        warn_of_size(source, network)
        edit = strength * Edit.load(path)
        clock.lap("load")
        before = edit.fingerprint
        untied = _untied(network, edit) if fingerprint(network) == before else []
        if untied and not untie:
            raise TiedWeightsError(
                f"{untied[0]!r} is the same tensor as another layer's, so editing one would change the other; give "
                "--untie to give it its own copy"
            )
        check_language_model(network, tokenizer)
        guards = Guards(force)
        guards.draw_general(tokenizer)
        guards.read(network, tokenizer, "before")
        edit.apply_(network, tied="untie" if untie else "refuse")
        guards.read(network, tokenizer, "after")
        guards.check()
        clock.lap("edit")
        named = {"file": str(path), "sha256": file_digest(path), "strength": strength}
        record = {
            "kind": "saved edit",
            "source": named | ({"recipe_hash": made["recipe_hash"]} if "recipe_hash" in made else {}),
            "model": {
                **source_of(source),
                "name": model,
                "class": type(network).__name__,
                "dtype": chosen,
                "fingerprint_before": before,
                "fingerprint_after": fingerprint(network),
            },
            "edit": edit.describe(),
            "sites": list(edit.sites()),
            "untied": untied,
            "guards": guards.record(),
            **earlier_requests(source),
        }
        found = told(record, clock)
        save_with_record(network, tokenizer, out, found)
    return found


def combine_edits(out: str | Path, weights: Mapping[str | Path, float]) -> Edit:
    """Write the sum of saved edits, each times its weight, as one edit.

    Raises:
        FingerprintError: they belong to different models.
        ArtifactError: a file is missing, damaged, or not an edit.
        DataError: ``out`` is one of them, or a weight is not finite.
        NonFiniteError: the sum is not finite.
    """
    out = Path(out)
    check_file(out)
    check_no_input(out, weights)
    check_writable(out)
    parts = [weight * Edit.load(path) for path, weight in weights.items()]
    if not all(math.isfinite(weight) for weight in weights.values()):
        raise DataError("weights must be finite numbers")
    dtypes = {str(read_about(path).get("about", {}).get("recipe", {}).get("dtype", "float32")) for path in weights}
    if len(dtypes) > 1:
        raise FingerprintError(
            f"these edits belong to a model in {' and in '.join(sorted(dtypes))}; combine those of one"
        )
    combined = sum(parts[1:], parts[0])
    for site, delta in combined.items():
        check_finite(site, delta)
    of = [{"file": str(path), "sha256": file_digest(path), "weight": weight} for path, weight in weights.items()]
    combined.save(out, about={"combined": of, "recipe": {"dtype": dtypes.pop()}})
    return combined


def _untied(model: nn.Module, edit: Edit) -> list[str]:
    shared = tied(model)
    sites = sites_by_name(model, edit.sites())
    return [name for site in sites.values() for name in parameter_names(model, site) if name in shared]
