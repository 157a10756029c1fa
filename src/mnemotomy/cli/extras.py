"""Packages that only some commands need, and how to get them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Extra:
    """A package, the module that it is imported as, the extra that brings it, and what it is for."""

    package: str
    module: str
    name: str
    purpose: str

    @property
    def command(self) -> str:
        """The command that installs it."""
        return f"pip install 'mnemotomy[{self.name}]'"


EXTRAS = (
    Extra("matplotlib", "matplotlib", "plot", "figures"),
    Extra("scikit-learn", "sklearn", "demo", "the digits of 'mnemotomy demo', and fresh probes"),
    Extra("accelerate", "accelerate", "train", "training facts out of a model"),
    Extra("peft", "peft", "train", "training an adapter in place of the weights"),
    Extra("qdrant-client", "qdrant_client", "dense", "dense retrieval of facts"),
    Extra("datasets", "datasets", "vision", "images from a folder or the hub"),
    Extra("pillow", "PIL", "vision", "reading and drawing images"),
    Extra("rouge-score", "rouge_score", "tofu", "ROUGE of TOFU's evaluation"),
    Extra("lm-eval", "lm_eval", "eval", "GSM8K by the harness of the field"),
)
