"""Mnemotomy: memory surgery for neural networks. Conventionally ``import mnemotomy as mt``.

Names are imported when they are first used: ``import mnemotomy`` loads neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnemotomy.engram.atlas import Atlas
    from mnemotomy.engram.collect import Collection, collect
    from mnemotomy.engram.criteria import Criteria, criteria, necessity, null_state, sufficiency
    from mnemotomy.engram.cut import ConditionCut, EnergyCut, FloatEpsCut, RankCut, RelativeCut
    from mnemotomy.engram.edit import Edit
    from mnemotomy.engram.engram import Engram
    from mnemotomy.engram.filters import Balanced, Excess, Hard, Power, Ridge, Soft
    from mnemotomy.engram.moments import Moments
    from mnemotomy.engram.strength import erase, inject
    from mnemotomy.errors import MnemotomyError
    from mnemotomy.models import fingerprint, load_model, load_tokenizer, save_model

__version__ = "0.1.0"

__all__ = [
    "Atlas",
    "Balanced",
    "Collection",
    "ConditionCut",
    "Criteria",
    "Edit",
    "EnergyCut",
    "Engram",
    "Excess",
    "FloatEpsCut",
    "Hard",
    "MnemotomyError",
    "Moments",
    "Power",
    "RankCut",
    "RelativeCut",
    "Ridge",
    "Soft",
    "collect",
    "criteria",
    "erase",
    "fingerprint",
    "inject",
    "load_model",
    "load_tokenizer",
    "necessity",
    "null_state",
    "save_model",
    "sufficiency",
]

_HOMES = {
    "engram.atlas": ("Atlas",),
    "engram.collect": ("Collection", "collect"),
    "engram.criteria": ("Criteria", "criteria", "necessity", "null_state", "sufficiency"),
    "engram.cut": ("ConditionCut", "EnergyCut", "FloatEpsCut", "RankCut", "RelativeCut"),
    "engram.edit": ("Edit",),
    "engram.engram": ("Engram",),
    "engram.filters": ("Balanced", "Excess", "Hard", "Power", "Ridge", "Soft"),
    "engram.moments": ("Moments",),
    "engram.strength": ("erase", "inject"),
    "errors": ("MnemotomyError",),
    "models": ("fingerprint", "load_model", "load_tokenizer", "save_model"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
