"""Mnemotomy: memory surgery for neural networks. Conventionally ``import mnemotomy as mt``.

Names are imported when they are first used: ``import mnemotomy`` loads neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module

from mnemotomy.core.version import __version__ as __version__

TYPE_CHECKING = False  # importing typing takes longer than all else here: time in which Ctrl-C is a traceback
if TYPE_CHECKING:
    from typing import Any

    from mnemotomy.audit.options import AuditOptions
    from mnemotomy.audit.run import audit
    from mnemotomy.core.errors import MnemotomyError, SurgeryWarning
    from mnemotomy.core.fingerprints import fingerprint
    from mnemotomy.core.models import load_model, load_tokenizer, save_model
    from mnemotomy.core.precision import autocast
    from mnemotomy.core.version import versions
    from mnemotomy.data.digits import Split, load_digits
    from mnemotomy.data.fact import Fact, PromptFormat
    from mnemotomy.data.fact_file import read_facts, write_facts
    from mnemotomy.data.importing import Imported, import_benchmark
    from mnemotomy.data.real_facts import real_facts
    from mnemotomy.engram.atlas import Atlas
    from mnemotomy.engram.collect import CollectOptions, collect
    from mnemotomy.engram.criteria import Criteria, criteria, necessity, null_state, sufficiency
    from mnemotomy.engram.cut import ConditionCut, EnergyCut, FloatEpsCut, RankCut, RelativeCut
    from mnemotomy.engram.edit import Edit
    from mnemotomy.engram.engram import Engram
    from mnemotomy.engram.filters import Balanced, Excess, Hard, Power, Ridge, Soft, Steep
    from mnemotomy.engram.moments import Moments
    from mnemotomy.engram.recalibrate import recalibrate_, recalibrated
    from mnemotomy.engram.strength import erase, inject
    from mnemotomy.forget.forgetting import forget
    from mnemotomy.forget.options import ForgetOptions
    from mnemotomy.metabolism.metabolize import Metabolized, metabolize
    from mnemotomy.metabolism.rlcp import RLCP, EngramStart, Training
    from mnemotomy.observe.watch import ConceptWatch
    from mnemotomy.report import figures
    from mnemotomy.report.table import Table
    from mnemotomy.store.dense import DenseFactStore, mean_hidden_encoder
    from mnemotomy.store.fact_store import FactStore
    from mnemotomy.store.reader import Answer, Reader
    from mnemotomy.store.retriever import Hit
    from mnemotomy.text.batches import batches
    from mnemotomy.text.template import Template
    from mnemotomy.training.adapter import LoRA
    from mnemotomy.training.fit import fit

__all__ = [
    "RLCP", "Answer", "Atlas", "AuditOptions", "Balanced", "CollectOptions", "ConceptWatch", "ConditionCut",
    "Criteria", "DenseFactStore", "Edit", "EnergyCut", "Engram", "EngramStart", "Excess", "Fact", "FactStore",
    "FloatEpsCut", "ForgetOptions", "Hard", "Hit", "Imported", "LoRA", "Metabolized", "MnemotomyError", "Moments",
    "Power", "PromptFormat", "RankCut", "Reader", "RelativeCut", "Ridge", "Soft", "Split", "Steep", "SurgeryWarning",
    "Table", "Template", "Training", "audit", "autocast", "batches", "collect", "criteria", "erase", "figures",
    "fingerprint", "fit", "forget", "import_benchmark", "inject", "load_digits", "load_model", "load_tokenizer",
    "mean_hidden_encoder", "metabolize", "necessity", "null_state", "read_facts", "real_facts", "recalibrate_",
    "recalibrated", "save_model", "sufficiency", "versions", "write_facts",
]  # fmt: skip

_HOMES = {
    "forget.forgetting": ("forget",),
    "forget.options": ("ForgetOptions",),
    "audit.options": ("AuditOptions",),
    "audit.run": ("audit",),
    "engram.atlas": ("Atlas",),
    "engram.collect": ("CollectOptions", "collect"),
    "engram.criteria": ("Criteria", "criteria", "necessity", "null_state", "sufficiency"),
    "engram.cut": ("ConditionCut", "EnergyCut", "FloatEpsCut", "RankCut", "RelativeCut"),
    "engram.edit": ("Edit",),
    "engram.engram": ("Engram",),
    "engram.filters": ("Balanced", "Excess", "Hard", "Power", "Ridge", "Soft", "Steep"),
    "engram.moments": ("Moments",),
    "engram.recalibrate": ("recalibrate_", "recalibrated"),
    "engram.strength": ("erase", "inject"),
    "core.errors": ("MnemotomyError", "SurgeryWarning"),
    "data.fact": ("Fact", "PromptFormat"),
    "data.fact_file": ("read_facts", "write_facts"),
    "data.importing": ("Imported", "import_benchmark"),
    "data.real_facts": ("real_facts",),
    "metabolism.metabolize": ("Metabolized", "metabolize"),
    "metabolism.rlcp": ("RLCP", "EngramStart", "Training"),
    "core.fingerprints": ("fingerprint",),
    "core.models": ("load_model", "load_tokenizer", "save_model"),
    "core.precision": ("autocast",),
    "store.reader": ("Answer", "Reader"),
    "store.fact_store": ("FactStore",),
    "store.retriever": ("Hit",),
    "store.dense": ("DenseFactStore", "mean_hidden_encoder"),
    "core.version": ("versions",),
    "data.digits": ("Split", "load_digits"),
    "observe.watch": ("ConceptWatch",),
    "report.table": ("Table",),
    "text.batches": ("batches",),
    "text.template": ("Template",),
    "training.adapter": ("LoRA",),
    "training.fit": ("fit",),
}
_MODULES = {"figures": "report.figures"}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    if name in _MODULES:
        return import_module(f"{__name__}.{_MODULES[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
