"""Which class a model is loaded in, and whether its weights are all there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from mnemotomy.core.gguf import gguf_model, is_gguf

_DEEPEST = 10_000


def check_depth(config: Mapping[str, Any]) -> None:
    """Refuse a number of layers that would be built one by one without end."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            check_depth(value)
        elif isinstance(value, int) and "layers" in key and value > _DEEPEST:
            raise ValueError(f"its config.json has {key} above {_DEEPEST}")


def _classes_for(config: Any, trusted: bool) -> list[Any]:
    """The class that the configuration names; if transformers lacks it or none is named, the classes to try."""
    import transformers

    own = getattr(config, "auto_map", None) or {}
    if trusted and any(name.startswith("AutoModel") for name in own):
        known = [kind for kind in ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModel") if kind in own]
        return [getattr(transformers, [*known, *(one for one in own if one.startswith("AutoModel"))][0])]
    named = getattr(transformers, str((config.architectures or ["none"])[0]), None)
    if isinstance(named, type) and issubclass(named, transformers.PreTrainedModel):
        return [named]
    heads = (transformers.AutoModelForCausalLM, transformers.AutoModelForSeq2SeqLM)
    return [*(kind for kind in heads if type(config) in kind._model_mapping), transformers.AutoModel]


def load_whole(config: Any, name: str, dtype: torch.dtype, trusted: bool) -> tuple[nn.Module, str | None]:
    """The model in the first class that its weights match; else in the first one, and what is wrong."""
    first: tuple[nn.Module, str | None] | None = None
    for kind in _classes_for(config, trusted):
        found = _loaded(kind, config, name, dtype, trusted)
        if found[1] is None:
            return found
        first = first or found
    return cast(tuple[nn.Module, str | None], first)


def _loaded(kind: Any, config: Any, name: str, dtype: torch.dtype, trusted: bool) -> tuple[nn.Module, str | None]:
    """The model and, if its weights do not match its class, what is wrong."""
    if is_gguf(name):
        model, report = gguf_model(kind, name, dtype, config)
    else:
        model, report = kind.from_pretrained(name, dtype=dtype, output_loading_info=True, trust_remote_code=trusted)
    named = type(model).__name__
    if missing := sorted(report["missing_keys"]):  # transformers would initialise them at random
        return model, f"lacks {len(missing)} weights of {named}, the first {missing[0]!r}"
    if left := sorted(report["unexpected_keys"]):  # saving the model again would lose them
        return model, (
            f"contains {len(left)} weights that {named} has no place for, the first {left[0]!r}; check 'architectures' "
            "and the number of layers in its config.json"
        )
    return model, None
