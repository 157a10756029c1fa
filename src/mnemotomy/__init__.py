"""Mnemotomy: memory surgery for neural networks. Conventionally ``import mnemotomy as mt``."""

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
