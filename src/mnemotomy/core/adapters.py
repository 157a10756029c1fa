"""Adapter folders of PEFT: the base that they name, and the merging of the two on loading."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from torch import nn

from mnemotomy.core.bounded import full_matches
from mnemotomy.core.errors import ModelError
from mnemotomy.core.json_text import read_json
from mnemotomy.core.modules import tied_parameters, untie

CONFIGURATION, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_NAME = re.compile(r"[\w.]+")


def is_adapter(name: str | Path) -> bool:
    """Whether the folder has an adapter and no model of its own."""
    return (Path(name) / CONFIGURATION).is_file() and not (Path(name) / "config.json").is_file()


def base_name(folder: str | Path) -> str:
    """What an adapter's configuration names as its base; a path relative to the folder is made one from here.

    Raises:
        ModelError: the configuration is damaged, or names none.
    """
    path = Path(folder) / CONFIGURATION
    try:
        found = read_json(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    if not found or not isinstance(found, str):
        raise ModelError(f"{path} names no base; add its folder or hub id as base_model_name_or_path")
    beside = Path(folder) / Path(found).expanduser()
    return str(beside) if beside.exists() else found


def merged(base: nn.Module, folder: str | Path) -> nn.Module:
    """The base with the adapter of a folder added to its weights; the base is changed.

    A weight that is tied to another which the adapter leaves alone is untied: the merged model computes what the two
    compute side by side.

    Raises:
        ModelError: the adapter does not fit, is of a kind that cannot be merged, or is damaged.
    """
    import peft
    from safetensors.torch import load_file

    folder = Path(folder)
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"the adapter {folder} has no {WEIGHTS}; save it as safetensors")
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
        if getattr(config, "megatron_config", None):
            raise ValueError("adapters of Megatron cannot be merged here")
        _match_patterns(config, [name for name, _ in base.named_modules() if name])
        with warnings.catch_warnings():  # about ties, which are seen to below
            warnings.simplefilter("ignore")
            wrapped: Any = peft.get_peft_model(cast(Any, base), config)
            if not hasattr(wrapped, "merge_and_unload"):
                raise ValueError(f"an adapter of kind {config.peft_type} cannot be merged")
            found = peft.set_peft_model_state_dict(wrapped, load_file(folder / WEIGHTS))
            _check_complete(found)
            _untie_adapted(wrapped)
            merged: nn.Module = wrapped.merge_and_unload(safe_merge=True)
    except Exception as error:  # peft raises whatever a wrong value in a configuration leads to
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"cannot merge the adapter {folder} into its base: {first}") from error
    for owner, attribute in ((merged, "name_or_path"), (getattr(merged, "config", None), "_name_or_path")):
        if hasattr(owner, attribute):
            setattr(owner, attribute, str(folder))
    for parameter in merged.parameters():
        parameter.requires_grad_(True)
    return merged


def _match_patterns(config: Any, names: Sequence[str]) -> None:
    """Put the modules that they match in place of a configuration's regular expressions: peft has no time limit."""
    for field in ("target_modules", "exclude_modules"):
        pattern = getattr(config, field, None)
        if isinstance(pattern, str) and pattern != "all-linear":
            setattr(config, field, set(full_matches(pattern, names)))
    for field in ("rank_pattern", "alpha_pattern"):
        found: dict[str, Any] = {}
        for pattern, value in (getattr(config, field, None) or {}).items():
            own = [name for name in names if f".{name}".endswith(f".{pattern}")]  # most are names: no expression needed
            matched = own if _NAME.fullmatch(pattern) else full_matches(rf"(.*\.)?({pattern})", names)
            found = dict.fromkeys(matched, value) | found  # the first pattern counts
        if getattr(config, field, None):
            setattr(config, field, found)
    for field in ("modules_to_save", "layers_pattern"):
        parts = getattr(config, field, None) or ()
        for part in [parts] if isinstance(parts, str) else parts:
            if not _NAME.fullmatch(part):
                raise ValueError(f"{field} has {part!r}, which is not the name of a module")


def _check_complete(found: Any) -> None:
    missing = [name for name in found.missing_keys if ".default" in name]
    if missing:
        raise ValueError(f"it lacks {len(missing)} weights, the first {missing[0]!r}")
    if found.unexpected_keys:
        raise ValueError(
            f"the base has no place for {len(found.unexpected_keys)} weights, as {found.unexpected_keys[0]!r}"
        )


def _untie_adapted(wrapped: Any) -> None:
    """Untie the weights of adapted layers, so that merging into one changes no other layer."""
    adapted = {name for name, module in wrapped.base_model.model.named_modules() if hasattr(module, "base_layer")}
    model = wrapped.base_model.model
    shared = tied_parameters(model)
    for name in list(shared):
        owner = name.removesuffix(".weight").removesuffix(".base_layer")
        if owner in adapted and name in tied_parameters(model):
            untie(model, name)
