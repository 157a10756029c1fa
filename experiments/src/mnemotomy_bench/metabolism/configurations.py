"""The named configurations of the metabolism bench."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import torch
from pydantic.dataclasses import dataclass

from mnemotomy.core.precision import Precision, resolved
from mnemotomy.metabolism.rlcp import RLCP, Ablation
from mnemotomy_bench.lab.cases import STRICT, at_scale, document, validated

ORIGINAL = "A original"


@dataclass(frozen=True, config=STRICT)
class Plan:
    """The size of a run at a scale.

    Attributes:
        seeds: of the world, the model and training.
        epochs: of the published protocol, its baselines and ablations.
        rates: the learning rates of the published protocol.
        working_epochs: of the variants that work; None for their own.
        working_lambda_adv: of the stable variant; None for its own.
        working_lambda_retain: of the variants that work; None for their own.
        working_rate: their learning rate; None for their own.
        working_batch_size: of theirs; None for their own.
        working_retained: retained texts per step of theirs; None for two per example.
        working_blocks: the first and last one that they train, as shares of the depth; None for all.
        subjects: whether to run the variant that edits at the subjects, which is for pretrained models.
        rate: the learning rate of baselines and ablations.
        precision: of training; ``auto`` takes bfloat16 where the processor is fast at it.
    """

    seeds: tuple[int, ...]
    epochs: int
    rates: tuple[float, ...]
    working_epochs: int | None = None
    working_lambda_adv: float | None = None
    working_lambda_retain: float | None = None
    working_rate: float | None = None
    working_batch_size: int | None = None
    working_retained: int | None = None
    working_blocks: tuple[float, float] | None = None
    subjects: bool = False
    rate: float = 3e-4
    precision: Precision = "no"


def plan_of(scale: str) -> Plan:
    """The plan of ``tiny``, ``small`` or ``full``.

    Raises:
        ConfigurationError: there is no such scale.
    """
    plan: Plan = validated(Plan, at_scale(document("metabolism"), scale), f"metabolism.yaml, {scale}")
    return plan


def configurations(scale: str, seed: int) -> dict[str, RLCP | None]:
    """Every configuration by its name, the untrained original (None) first.

    Args:
        scale: as ``plan_of``.
        seed: of training.
    """
    plan = plan_of(scale)
    published = {
        "B just-RAG": RLCP.just_rag(),
        "C unlikelihood": RLCP.unlikelihood(),
        **{f"RLCP, no {part}": RLCP.without(part) for part in get_args(Ablation)},
    }
    precision = resolved(plan.precision, torch.device("cpu"))

    def trained(config: RLCP, epochs: int | None, rate: float | None, **more: Any) -> RLCP:
        """With the seed, and with the plan's epochs, rate and more where it has them."""
        own = _given(epochs=epochs, learning_rate=rate, precision=precision, **more)
        return replace(config, training=replace(config.training, seed=seed, **own))

    found = {name: trained(config, plan.epochs, plan.rate) for name, config in published.items()}
    found |= {f"RLCP, rate {rate:g}": trained(RLCP(), plan.epochs, rate) for rate in plan.rates}
    retaining = _given(lambda_retain=plan.working_lambda_retain)
    stable = RLCP.stable(**_given(lambda_adv=plan.working_lambda_adv), **retaining)
    sizes = {"batch_size": plan.working_batch_size, "retained": plan.working_retained, "blocks": plan.working_blocks}
    for name, config in (("RLCP stable", stable), ("RLCP from engram", RLCP.from_engram(**retaining))):
        found[name] = trained(config, plan.working_epochs, plan.working_rate, **sizes)
    if plan.subjects:
        found["RLCP from subjects"] = trained(RLCP.from_subjects(), None, None)
    return {ORIGINAL: None, **found}


def explained(scale: str) -> tuple[str, ...]:
    """The configurations whose mechanism is measured as well; the published protocol at the rate of its baselines."""
    if scale == "tiny":
        return ORIGINAL, "RLCP stable"
    published = f"RLCP, rate {plan_of(scale).rate:g}"
    return ORIGINAL, "B just-RAG", published, "RLCP stable", "RLCP from engram", "RLCP from subjects"


def _given(**values: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}
