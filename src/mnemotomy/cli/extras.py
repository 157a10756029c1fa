"""Packages that only some commands need, and how to install them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Extra:
    """A package, its module, the extra of ours that installs it, and its purpose."""

    package: str
    module: str
    name: str
    purpose: str

    @property
    def command(self) -> str:
        """How to install it."""
        return f"pip install 'mnemotomy[{self.name}]'"


EXTRAS = (
    Extra("matplotlib", "matplotlib", "plot", "figures"),
    Extra("scikit-learn", "sklearn", "demo", "the digits of 'mnemotomy demo', and fresh probes"),
    Extra("accelerate", "accelerate", "train", "training facts out of a model"),
    Extra("peft", "peft", "train", "training an adapter instead of the weights"),
    Extra("qdrant-client", "qdrant_client", "dense", "dense retrieval of facts"),
    Extra("datasets", "datasets", "vision", "images from a folder or the hub"),
    Extra("pillow", "PIL", "vision", "reading and drawing images"),
    Extra("rouge-score", "rouge_score", "tofu", "ROUGE of TOFU's evaluation"),
    Extra("lm-eval", "lm_eval", "eval", "GSM8K with the LM evaluation harness"),
)
