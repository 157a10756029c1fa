"""Packages that not every command needs, and how to install them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Extra:
    """A package, its module, the extra of ours that has it (None for the base install), and its purpose."""

    package: str
    module: str
    name: str | None
    purpose: str

    @property
    def command(self) -> str:
        """How to install it."""
        return f"pip install {self.package}"


EXTRAS = (
    Extra("matplotlib", "matplotlib", None, "figures"),
    Extra("scikit-learn", "sklearn", None, "the digits of 'mnemotomy demo', and fresh probes"),
    Extra("accelerate", "accelerate", None, "training facts out of a model"),
    Extra("peft", "peft", None, "training an adapter instead of the weights"),
    Extra("optuna", "optuna", None, "the search of 'mnemotomy forget'"),
    Extra("scipy", "scipy", None, "confidence intervals"),
    Extra("qdrant-client", "qdrant_client", "dense", "dense retrieval of facts"),
    Extra("pandas", "pandas", "tables", "tables in Python: Atlas.trace and mt.criteria"),
    Extra("datasets", "datasets", "vision", "benchmarks and images from a folder or the hub"),
    Extra("pillow", "PIL", "vision", "reading and drawing images"),
    Extra("rouge-score", "rouge_score", None, "ROUGE of TOFU's evaluation"),
    Extra("gguf", "gguf", "gguf", "models in .gguf files"),
    Extra("lm-eval", "lm_eval", "eval", "tasks of lm-eval in an audit, and GSM8K"),
)
