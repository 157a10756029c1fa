"""The named configurations of the metabolism bench."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from mnemotomy.metabolism.rlcp import RLCP, Ablation

Scale = Literal["tiny", "small", "full"]

RATES = (1e-4, 3e-4, 1e-3)
"""The learning rates at which the published protocol is run; baselines and ablations take the middle one."""

ORIGINAL = "A original"

TINY_EPOCHS = 100
"""Of the forms that work, at scale tiny."""

TINY_LAMBDA_ADV = 20.0
"""Of the stable form, at scale tiny: a heavier adversary makes up for fewer epochs."""


def configurations(scale: Scale, seed: int) -> dict[str, RLCP | None]:
    """Every configuration by its name, the untrained original (None) first.

    Args:
        scale: ``tiny`` has one learning rate, and fewer epochs.
        seed: of training.
    """
    epochs = 10 if scale == "tiny" else 50
    published = {
        "B just-RAG": RLCP.just_rag(),
        "C unlikelihood": RLCP.unlikelihood(),
        **{f"RLCP, no {part}": RLCP.without(part) for part in get_args(Ablation)},
    }
    rates = RATES[1:2] if scale == "tiny" else RATES
    found = {name: _trained(config, epochs, RATES[1], seed) for name, config in published.items()}
    found |= {f"RLCP, rate {rate:g}": _trained(RLCP(), epochs, rate, seed) for rate in rates}
    stable, regenerated = RLCP.stable(), RLCP.from_engram()
    if scale == "tiny":
        stable = replace(stable, lambda_adv=TINY_LAMBDA_ADV)
    for name, config in (("RLCP stable", stable), ("RLCP from engram", regenerated)):
        training = replace(config.training, seed=seed)
        found[name] = replace(config, training=replace(training, epochs=TINY_EPOCHS) if scale == "tiny" else training)
    return {ORIGINAL: None, **found}


def _trained(config: RLCP, epochs: int, rate: float, seed: int) -> RLCP:
    training = replace(config.training, epochs=epochs, learning_rate=rate, seed=seed)
    return replace(config, training=training)
