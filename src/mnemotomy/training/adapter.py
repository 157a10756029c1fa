"""Low-rank adapters (peft): their settings, wrapping a model, and unwrapping it."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass
from typing import Any

from torch import nn

from mnemotomy.core.bounded import full_matches
from mnemotomy.core.errors import ConfigurationError, SelectionError


@dataclass(frozen=True)
class LoRA:
    """A low-rank adapter (peft); the frozen reference is the model with the adapter off.

    Attributes:
        rank, alpha, dropout: of the adapter.
        target_modules: the modules to adapt, as peft takes them.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0.0 <= self.dropout < 1.0:
            raise ConfigurationError(
                f"an adapter's rank is at least 1 and its dropout in [0, 1), not {self.rank} and {self.dropout}"
            )


def with_adapter(model: nn.Module, lora: LoRA | None) -> Any:
    """The model, wrapped by peft unless ``lora`` is None.

    Raises:
        ConfigurationError: peft is not installed, or finds nothing to adapt.
    """
    if lora is None:
        return model
    if importlib.util.find_spec("peft") is None:
        raise ConfigurationError("an adapter needs peft; get it with: pip install peft")
    import peft

    targets = lora.target_modules if lora.target_modules == "all-linear" else _named(model, lora)
    _check_rank(model, lora)
    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets, task_type="CAUSAL_LM"
    )
    try:
        with warnings.catch_warnings():  # peft asks the model by a name that transformers gives up
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            return peft.get_peft_model(model, config)
    except ValueError as error:
        first = str(error).partition("\n")[0]
        raise ConfigurationError(f"peft cannot adapt {lora.target_modules!r} in this model: {first}") from error


def _named(model: nn.Module, lora: LoRA) -> list[str]:
    """The names or suffixes to adapt; a regular expression is matched here, in bounded time, and not by peft."""
    if not isinstance(lora.target_modules, str):
        return list(lora.target_modules)
    try:
        found = full_matches(lora.target_modules, [name for name, _ in model.named_modules() if name])
    except SelectionError as error:
        raise ConfigurationError(f"target_modules: {error}") from error
    if not found:
        raise ConfigurationError(
            f"peft cannot adapt {lora.target_modules!r} in this model: no module's full name matches it"
        )
    return found


def _check_rank(model: nn.Module, lora: LoRA) -> None:
    """A larger rank than that of any weight adds nothing, and may not fit into memory."""
    largest = max((min(one.shape) for one in model.parameters() if one.dim() == 2), default=1)
    if lora.rank > largest:
        raise ConfigurationError(f"an adapter's rank is at most {largest} for this model, not {lora.rank}")


def unwrapped(model: Any) -> nn.Module:
    """The model inside a peft wrapper, or the model itself."""
    get = getattr(model, "get_base_model", None)
    return get() if callable(get) else model
