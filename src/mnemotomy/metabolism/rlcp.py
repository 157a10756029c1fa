"""RLCP's configuration: the published protocol, its baselines and ablations, and the forms that work better."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.metabolism.probe import Layer
from mnemotomy.metabolism.terms import (
    Adversary,
    Collapse,
    Constant,
    NegativeCrossEntropy,
    Reversal,
    Schedule,
    Sigmoid,
    Suppression,
    Unlikelihood,
    Watching,
)
from mnemotomy.training.adapter import LoRA

Ablation = Literal["reversal", "suppression", "kl", "schedule"]
KLOn = Literal["all", "prompt"]
Teacher = Literal["auto", "precomputed", "copy", "adapter"]


@dataclass(frozen=True)
class Training:
    """How the parameters are updated; the paper gives epochs and batch, the rest is ours.

    Attributes:
        epochs: times that every fact is seen, each time with another of its prompts.
        batch_size: examples in one step of one process.
        learning_rate: of AdamW.
        probe_learning_rate: of the probes, the same one where not given.
        warmup: share of the steps in which the rate rises.
        decay: whether it falls to zero after that, along a cosine; else it stays.
        weight_decay: of AdamW.
        clip: norm to which the gradient is clipped.
        accumulation: batches added up for one update, each term being its mean over all of them; `Collapse` alone
            compares the facts of one batch.
        precision: ``no`` or ``bf16`` (autocast; the weights stay as they are).
        lora: train an adapter and not the weights.
        reference: where the teacher's logits come from: ``precomputed`` once, a frozen ``copy``, the model with its
            ``adapter`` off; ``auto`` takes the adapter where there is one, else precomputes what fits in 2 GiB.
        save_every: epochs between checkpoints, where a folder for them is given.
        seed: of probes, order and contexts.
    """

    epochs: int = 50
    batch_size: int = 4
    learning_rate: float = 1e-4
    probe_learning_rate: float | None = None
    warmup: float = 0.0
    decay: bool = False
    weight_decay: float = 0.01
    clip: float = 1.0
    accumulation: int = 1
    precision: Literal["no", "bf16"] = "no"
    lora: LoRA | None = None
    reference: Teacher = "auto"
    save_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, not {getattr(self, name)}")
        rates = (self.learning_rate, 1.0 if self.probe_learning_rate is None else self.probe_learning_rate)
        if not all(0 < rate < math.inf for rate in rates) or not self.clip > 0:
            raise ConfigurationError("learning_rate, probe_learning_rate and clip must be above 0")
        if not 0 <= self.weight_decay < math.inf or not 0 <= self.warmup <= 1:
            raise ConfigurationError(
                f"weight_decay is at least 0 and warmup a share, not {self.weight_decay} and {self.warmup}"
            )
        if self.precision not in ("no", "bf16"):
            raise ConfigurationError(f"precision is 'no' or 'bf16', not {self.precision!r}")
        if self.reference not in get_args(Teacher):
            raise ConfigurationError(f"reference is one of {', '.join(get_args(Teacher))}, not {self.reference!r}")
        if self.reference == "adapter" and self.lora is None:
            raise ConfigurationError("reference='adapter' needs lora=LoRA(): without one, nothing can be switched off")


@dataclass(frozen=True)
class EngramStart:
    """An engram edit before training: the facts' directions with μ above ``threshold`` are removed in closed form.

    Attributes:
        threshold: of the projector, as in ``mnemotomy.Hard``.
        strength: of the erasure.
        sites: which weights, by the PEFT convention.
    """

    threshold: float = 0.5
    strength: float = 1.0
    sites: str | tuple[str, ...] = "all-linear"


@dataclass(frozen=True)
class RLCP:
    """The Regenerative Logic-Core Protocol (Fang & Sun 2026, Algorithm 1); as it stands, the published one.

    ``L = λ_RAG · L_RAG + λ_adv · L_P + L_L + λ_KL · L_KL``, and ``λ_retain · L_retain`` where it is protected further.

    Attributes:
        lambda_adv, lambda_rag, lambda_kl: weights of the adversary, which at 0 only watches, the survival stream, and
            the KL on ``x_no``.
        lambda_retain: weight of the KL to the reference on texts that are to stay; the paper has none.
        layer: l*, where the probe sits: blocks passed, a share of the depth (20 of 24 by default), or a module's name.
        adversary: what pushes the facts out of the states.
        suppression: what makes the answers improbable without context, or None.
        schedule: of the adversary's strength α.
        kl_on: whether the KL on ``x_no`` counts every position, or leaves out those that predict the answer.
        counterfactuals: share of the contexts in the survival stream that say something else than the fact.
        engram: an edit to start from, or None.
        training: optimiser, batches, precision.
    """

    lambda_adv: float = 2.0
    lambda_rag: float = 1.0
    lambda_kl: float = 5.0
    lambda_retain: float = 0.0
    layer: Layer = 20 / 24
    adversary: Adversary = field(default_factory=Reversal)
    suppression: Suppression | None = field(default_factory=NegativeCrossEntropy)
    schedule: Schedule = field(default_factory=Sigmoid)
    kl_on: KLOn = "all"
    counterfactuals: float = 0.0
    engram: EngramStart | None = None
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        for name in ("lambda_adv", "lambda_rag", "lambda_kl", "lambda_retain"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name} must not be negative; it is {getattr(self, name)}")
        if self.kl_on not in get_args(KLOn):
            raise ConfigurationError(f"kl_on is 'all' or 'prompt', not {self.kl_on!r}")
        if not (self.needs_prompts or self.lambda_rag > 0 or self.lambda_retain > 0):
            raise ConfigurationError("every weight is 0 and nothing is suppressed: there is nothing to train for")
        if not 0.0 <= self.counterfactuals <= 1.0:
            raise ConfigurationError(f"counterfactuals is a share, from 0 to 1; it is {self.counterfactuals}")

    @property
    def acting(self) -> Adversary:
        """The adversary; a probe that only watches where its weight is 0."""
        return self.adversary if self.lambda_adv > 0 else Watching()

    @property
    def needs_prompts(self) -> bool:
        """Whether the stream without context is run at all."""
        return self.lambda_adv > 0 or self.lambda_kl > 0 or self.suppression is not None

    @classmethod
    def just_rag(cls, **changes: Any) -> RLCP:
        """Baseline B: answering from context and the KL, nothing that forgets."""
        return replace(cls(lambda_adv=0.0, suppression=None, adversary=Watching()), **changes)

    @classmethod
    def unlikelihood(cls, **changes: Any) -> RLCP:
        """Baseline C: the answers' probability pushed down, and nothing else."""
        return replace(cls(lambda_adv=0.0, lambda_rag=0.0, lambda_kl=0.0, adversary=Watching()), **changes)

    @classmethod
    def without(cls, part: Ablation, **changes: Any) -> RLCP:
        """The published protocol with one part taken away."""
        ablations: dict[str, dict[str, Any]] = {
            "reversal": {"lambda_adv": 0.0, "adversary": Watching()},
            "suppression": {"suppression": None},
            "kl": {"lambda_kl": 0.0},
            "schedule": {"schedule": Constant()},
        }
        if part not in ablations:
            raise ConfigurationError(f"there is no part {part!r}; choose one of {', '.join(ablations)}")
        return replace(cls(**ablations[part]), **changes)

    @classmethod
    def stable(cls, **changes: Any) -> RLCP:
        """The protocol made to work: bounded losses, and texts that are to stay (``retain=``) held by the KL.

        The adversary collapses the states of the facts at every block from l* on (`Collapse`), suppression stops once
        the answer is gone (`Unlikelihood`), and the survival stream contradicts the weights half of the time.
        """
        return replace(
            cls(
                lambda_adv=4.0,
                lambda_rag=1.0,
                lambda_kl=0.0,
                lambda_retain=10.0,
                adversary=Collapse(),
                suppression=Unlikelihood(),
                kl_on="prompt",
                counterfactuals=0.5,
                training=Training(
                    epochs=300, batch_size=16, learning_rate=1e-3, warmup=0.05, decay=True, weight_decay=0.0
                ),
            ),
            **changes,
        )

    @classmethod
    def from_engram(cls, **changes: Any) -> RLCP:
        """An engram edit takes the facts out; the stable protocol regenerates what it cost.

        The edit takes reading about the facts' subjects with it, hence the heavier survival stream.
        """
        return replace(cls.stable(engram=EngramStart(), lambda_rag=4.0), **changes)


def described(value: Any) -> Any:
    """A configuration as plain data, every part with its kind, so that a result says exactly what ran."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = {} if isinstance(value, RLCP | Training | LoRA | EngramStart) else {"kind": type(value).__name__}
        return kind | {f.name: described(getattr(value, f.name)) for f in fields(value)}
    return list(value) if isinstance(value, tuple) else value
