"""The result of a search as a model folder, as an adapter of PEFT, or as the edit alone; with its record and recipe."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from mnemotomy.core.adapters import merged
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.files import replacing_folder, write_text
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.integrity import write_checksums
from mnemotomy.core.models import load_config
from mnemotomy.core.sources import source_of
from mnemotomy.core.yaml import write_yaml
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import FILTER
from mnemotomy.engram.sites import Site, sites_by_name
from mnemotomy.forget.found import FORGET, Found
from mnemotomy.forget.request import Request
from mnemotomy.recipe.record import beside, check_changed, earlier_requests, save_with_record
from mnemotomy.text.records import json_lines_of

As = Literal["model", "lora", "edit"]
_OF_AN_EDIT = ("chosen", "scores", "files", "asked", "counts", "settings", "earlier")

ERROR = 0.05
"""The share of the edit's norm that an adapter may leave out, where its rank allows."""


def save_found(
    found: Found,
    model: nn.Module,
    tokenizer: Any,
    out: Path,
    about: Mapping[str, Any],
    *,
    as_: As = "model",
    rank: int | None = None,
) -> dict[str, Any]:
    """Save the chosen edit and return its record.

    Args:
        found: of a search on ``model``.
        model: not edited.
        tokenizer: the model's, or a classifier's image processor.
        out: a folder, or the file of an edit.
        about: ``source`` (the model's folder or hub id), ``files`` with their hashes, and ``asked``, what else was
            named.
        as_: ``model`` for a folder that ``from_pretrained`` loads, in the dtype of its source; ``lora`` for an adapter
            of PEFT; ``edit`` for a file.
        rank: of an adapter's largest matrices; by default as many as leave out at most ``ERROR`` of the edit.

    Raises:
        MnemotomyError: nothing has changed, or a weight is not finite.
    """
    source = str(about["source"])
    record: dict[str, Any] = found.record | {name: about[name] for name in ("files", "asked") if name in about}
    record |= earlier_requests(source)
    record["model"] = {
        **source_of(source), "class": type(model).__name__, "fingerprint_before": found.edit.fingerprint
    }  # fmt: skip
    if as_ == "edit":
        found.edit.save(out, about={name: record[name] for name in _OF_AN_EDIT if name in record})
        return record
    if as_ == "lora":
        return _save_lora(found, model, out, record, rank)
    edited = found.edit.apply(model, check=False, tied="untie")
    check_changed(found.edit.fingerprint, fingerprint(edited))
    stored = getattr(load_config(source), "dtype", None)
    if isinstance(stored, torch.dtype):
        loaded = next(model.parameters()).dtype
        record["model"]["fingerprint_after"] = fingerprint(edited.to(stored).to(loaded))  # as whoever loads it finds it
        edited = edited.to(stored)
    else:
        record["model"]["fingerprint_after"] = fingerprint(edited)
    record["model"]["dtype"] = str(next(edited.parameters()).dtype).removeprefix("torch.")
    if not isinstance(found.request, Request):
        save_with_record(edited, tokenizer, out, record)
        return record
    beside_it, lines = retained_beside(out), json_lines_of(found.request.retain)
    record["retained"] = {str(beside_it): hashlib.sha256(lines.encode()).hexdigest()}
    save_with_record(edited, tokenizer, out, record, _recipe(found, record, out))
    write_text(beside_it, lines)
    return record


def retained_beside(out: Path) -> Path:
    """Where the retain set that a search used is written, the model's own texts among it, for the recipe.

    Not into the result: that is given away, and the retain set may be other people's.
    """
    return out.with_name(f"{out.name}.retain.jsonl")


def _recipe(found: Found, record: Mapping[str, Any], out: Path) -> str | None:
    """The recipe of ``mnemotomy apply`` for the same edit; None if the forget set is in no file."""
    files = [str(Path(file).absolute()) for file in record.get("files", {}).get(FORGET, {})]
    chosen, settings = found.chosen.candidate, record["settings"]
    if not files:
        return None
    retained = str(retained_beside(out).absolute())
    template = {name: value for name, value in settings["template"].items() if value not in (None, False)}
    common = {
        "model": record["model"]["name"],
        "dtype": "float32",
        **({"template": template} if template else {}),
        **({"force": True} if found.concerns else {}),
    }
    if chosen.form == "two-sided":
        method = {"name": "two-sided", **chosen.two_sided()}
        return write_yaml({**common, "method": method, "forget": files, "retain": retained, "seed": settings["seed"]})
    return write_yaml(
        {
            **common,
            "concepts": {FORGET: files},
            "reference": retained,
            "sites": settings["sites"],
            **({} if settings["layers"] is None else {"layers": list(settings["layers"])}),
            "positions": settings["positions"],
            "cut": settings["cut"],
            "filter": FILTER.describe(chosen.filter()),
            "outputs": chosen.outputs,
            "strength": _strength(found),
        }
    )


def _strength(found: Found) -> Any:
    """One number, or one per site where they differ."""
    (term,) = found.edit.terms
    by_site = {site: -term.at(site) for site in term.deltas.sites()}
    return next(iter(by_site.values())) if len(set(by_site.values())) == 1 else by_site


def _save_lora(found: Found, model: nn.Module, out: Path, record: dict[str, Any], rank: int | None) -> dict[str, Any]:
    from peft import LoraConfig, get_peft_model

    factors, error = _factors(found.edit, sites_by_name(model, found.edit.sites()), rank)
    ranks = {name: left.shape[1] for name, (left, _) in factors.items()}
    config = LoraConfig(
        r=max(ranks.values()),
        lora_alpha=max(ranks.values()),
        target_modules=sorted(ranks),
        rank_pattern=ranks,
        alpha_pattern=ranks,
    )
    base = copy.deepcopy(model)
    adapted: Any = get_peft_model(cast(Any, base), config)
    config.base_model_name_or_path = _lasting(record["model"]["name"])  # peft takes where the model came from first
    with torch.no_grad():
        for name, (left, right) in factors.items():
            layer = adapted.base_model.model.get_submodule(name)
            layer.lora_A["default"].weight.copy_(right)
            layer.lora_B["default"].weight.copy_(left)
    record["adapter"] = {"rank": max(ranks.values()), "error": error, "modules": len(ranks)}
    with replacing_folder(out) as temporary:
        adapted.save_pretrained(temporary)
        del adapted, base
        record["model"]["fingerprint_after"] = fingerprint(merged(copy.deepcopy(model), temporary))
        for name, text in beside(record).items():
            (temporary / name).write_text(text, encoding="utf-8")
        write_checksums(temporary)
    return record


def _lasting(source: str) -> str:
    """A folder or file as an absolute path, which an adapter still finds from elsewhere; a hub id as it is."""
    return str(Path(source).resolve()) if Path(source).exists() else source


def _factors(
    edit: Edit, sites: Mapping[str, Site], rank: int | None
) -> tuple[dict[str, tuple[torch.Tensor, torch.Tensor]], float]:
    """By site, ``B`` and ``A`` of the truncated singular value decomposition, and the share of the norm left out.

    Raises:
        ConfigurationError: an adapter cannot hold the edit.
    """
    found, whole, lost = {}, 0.0, 0.0
    for name, delta in edit.items():
        if not isinstance(sites[name].module, nn.Linear):
            raise ConfigurationError(f"site {name!r} is not a linear layer, so an adapter cannot hold it; save a model")
        matrix = delta[:, :-1] if sites[name].has_bias else delta
        bias = float((delta.double().square().sum() - matrix.double().square().sum()).clamp_min(0.0))
        left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
        squares = values.square()
        total = float(squares.sum())
        if bias > ERROR**2 * (total + bias):
            raise ConfigurationError(
                f"the edit changes the bias of {name!r}, which an adapter of PEFT does not hold; save a model or an "
                "edit"
            )
        if total == 0.0:
            continue
        tail = total - squares.cumsum(0)
        enough = int((tail > ERROR**2 * total).sum()) + 1
        keep = min(len(values), enough if rank is None else rank)
        root = values[:keep].sqrt()
        found[name] = ((left[:, :keep] * root).float(), (root[:, None] * right[:keep]).float())
        whole, lost = whole + total + bias, lost + float(tail[keep - 1].clamp_min(0.0)) + bias
    if not found:
        raise ConfigurationError("the edit changes nothing, so there is no adapter to save; choose another candidate")
    return found, (lost / whole) ** 0.5
