"""A case of the class-wise bench that is over in seconds."""

from __future__ import annotations

from dataclasses import replace

from mnemotomy.methods.classifiers.engram_automatic import ClassifierEngramAutomatic
from mnemotomy_bench.classwise.cases import CASES
from mnemotomy_bench.classwise.grids import Grid
from mnemotomy_bench.vision.recipes import recipe_for

FEW = Grid(
    rates=(0.1,), epochs=1,
    values={
        "neggrad": {"learning_rate": (0.01, 1e30)},
        "l1-sparse": {"gamma": (1e-5,)},
        "engram-grid": {"strength": (1.0, 1.4)},
        "engram-recalibrated": {"strength": (1.0, 1.4)},
        "engram-projector": {"threshold": (0.4,), "strength": (1.0,)},
    },
    automatic=ClassifierEngramAutomatic(excesses=(0.2,), strengths=(0.6, 1.0, 1.4), read=200),
)  # fmt: skip
EXTRACTED = {"seconds": 0.5, "collecting_seconds": 0.5, "flops": 2, "classes": 10, "share_collected": 0.5}
CASE = replace(
    CASES["digits-mlp"],
    recipe=replace(recipe_for("mlp", "digits"), epochs=4),
    grid=FEW,
    superclasses={"low": (0, 1, 2, 3, 4), "high": (5, 6, 7, 8, 9)},
)
