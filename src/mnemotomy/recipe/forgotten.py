"""The result of a search as a model folder, as an adapter of PEFT, or as the edit alone; with its record and recipe."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
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
from mnemotomy.engram.cut import CUT, RelativeCut
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import FILTER
from mnemotomy.engram.sites import Site, sites_by_name
from mnemotomy.engram.subjects import NEIGHBOURS, RATIO
from mnemotomy.forget.found import FORGET, RETAIN, Found
from mnemotomy.forget.request import Request
from mnemotomy.recipe.record import beside, by_role, check_changed, earlier_requests, recipe_beside, save_with_record
from mnemotomy.text.records import json_lines_of

As = Literal["model", "lora", "edit"]
_OF_AN_EDIT = ("chosen", "scores", "date", "files", "asked", "counts", "settings", "earlier")
_RETAINED = "retain.jsonl"

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

    A model's folder, which is given away, has no name and no path of a set: its files are named by role and hash. What
    has these lies beside it (``written_beside``, ``kept_apart_beside``).

    Args:
        found: of a search on ``model``.
        model: not edited.
        tokenizer: the model's, or a classifier's image processor.
        out: a folder, or the file of an edit.
        about: ``source`` (the model's folder or hub id), ``files`` by role with their hashes, and ``asked``, what else
            was named.
        as_: ``model`` for a folder that ``from_pretrained`` loads, in the dtype of its source; ``lora`` for an adapter
            of PEFT; ``edit`` for a file.
        rank: of an adapter's largest matrices; by default as many as leave out at most ``ERROR`` of the edit.

    Raises:
        MnemotomyError: nothing has changed, or a weight is not finite.
    """
    record = _save(found, model, tokenizer, out, about, as_, rank)
    if isinstance(found.request, Request):
        write_text(kept_apart_beside(out), json_lines_of(found.request.checks))
    return record


def _save(
    found: Found, model: nn.Module, tokenizer: Any, out: Path, about: Mapping[str, Any], as_: As, rank: int | None
) -> dict[str, Any]:
    source = str(about["source"])
    record: dict[str, Any] = found.record | {"date": datetime.now(UTC).date().isoformat()}
    given = about.get("files", {})
    record["files"] = {
        role: by_role("retain-given" if role == RETAIN else role, named) for role, named in given.items()
    }
    record["asked"] = {name: value if name == "labels" else True for name, value in about.get("asked", {}).items()}
    record |= earlier_requests(source)
    record["model"] = {
        **_public(source_of(source)), "class": type(model).__name__, "fingerprint_before": found.edit.fingerprint
    }  # fmt: skip
    if as_ == "edit":
        found.edit.save(out, about={name: record[name] for name in _OF_AN_EDIT if name in record})
        return record
    if as_ == "lora":
        return _save_lora(found, model, out, record, rank, _lasting(source))
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
    (retained, again), lines = written_beside(out), json_lines_of(found.request.retain)
    record["retained"] = {_RETAINED: hashlib.sha256(lines.encode()).hexdigest()}
    files = [str(Path(file).absolute()) for file in about.get("files", {}).get(FORGET, {})]
    spared = [str(Path(file).absolute()) for file in about.get("files", {}).get(NEIGHBOURS, {})]
    public = {role: list(record["files"].get(role, {})) for role in (FORGET, NEIGHBOURS)}
    own = _recipe(found, record, record["model"]["name"], public, _RETAINED)
    save_with_record(edited, tokenizer, out, record, own if files else None)
    write_text(retained, lines)
    if files:
        sets = {FORGET: files, NEIGHBOURS: spared}
        write_text(again, _recipe(found, record, _lasting(source), sets, str(retained.absolute())))
    return record


def written_beside(out: Path) -> tuple[Path, Path]:
    """Where the retain set that a search used, the model's own texts among it, and the recipe with paths are written.

    Not into the result: that is given away, and the sets and their names may be other people's.
    """
    return out.with_name(f"{out.name}.retain.jsonl"), recipe_beside(out)


def kept_apart_beside(out: Path) -> Path:
    """Where the retained lines that no edit was made from are written, for an audit; beside whatever is saved."""
    return out.with_name(f"{out.name}.kept-apart.jsonl")


def _public(source: Mapping[str, Any]) -> dict[str, Any]:
    """Where a model came from, without the path to a folder or file."""
    name, base = Path(source["name"]), source.get("base")
    shown = name.resolve().name if name.exists() else source["name"]
    return {**source, "name": shown, **({} if base is None else {"base": _public(base)})}


def _recipe(found: Found, record: Mapping[str, Any], model: str, sets: Mapping[str, list[str]], retained: str) -> str:
    """The recipe of ``mnemotomy apply`` for the same edit, from the files of each set."""
    chosen, settings = found.chosen.candidate, record["settings"]
    template = {name: value for name, value in settings["template"].items() if value not in (None, False)}
    common = {
        "model": model,
        "dtype": "float32",
        **({"template": template} if template else {}),
        **({"force": True} if found.concerns else {}),
    }
    if chosen.form == "two-sided":
        places = {name: settings[name] for name in ("sites", "layers") if settings[name] not in (None, "all-linear")}
        method = {
            "name": "two-sided",
            **chosen.two_sided(),
            **{k: v if isinstance(v, str) else list(v) for k, v in places.items()},
        }
        read = {FORGET: sets[FORGET], "retain": retained}
        return write_yaml({**common, "method": method, **read, "seed": settings["seed"]})
    places = {
        "sites": settings["sites"],
        **({} if settings["layers"] is None else {"layers": list(settings["layers"])}),
        "positions": settings["positions"],
        "cut": settings["cut"],
    }
    if chosen.subjects:
        spared = {NEIGHBOURS: sets[NEIGHBOURS]} if sets[NEIGHBOURS] else {}
        cut = CUT.describe(RelativeCut(RATIO))
        places = {"subjects": True, **spared, "sites": list(settings["subjects"]), "cut": cut}
    return write_yaml(
        {
            **common,
            "concepts": {FORGET: sets[FORGET]},
            "reference": retained,
            **places,
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


def _save_lora(
    found: Found, model: nn.Module, out: Path, record: dict[str, Any], rank: int | None, base_name: str
) -> dict[str, Any]:
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
    config.base_model_name_or_path = base_name  # peft takes where the model came from first
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
