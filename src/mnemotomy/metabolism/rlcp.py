"""RLCP's configuration: the published protocol, its baselines and ablations, and variants that work better."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args

from mnemotomy.core.bounded import check_count
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.engram.subjects import DEPTH, MLP_OUTPUTS, RATIO
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
Blocks = tuple[int | float, int | float]


@dataclass(frozen=True)
class Training:
    """The optimiser's settings. Epochs and batch size are the paper's, the rest is ours.

    Attributes:
        epochs: passes over the facts, each with a different prompt per fact.
        batch_size: examples per step and process.
        retained: texts of the retain set per step and process; by default two per example.
        learning_rate: of AdamW.
        probe_learning_rate: of the probes; by default ``learning_rate``.
        warmup: share of the steps in which the rate rises.
        decay: whether the rate then falls to zero along a cosine; otherwise it stays.
        weight_decay: of AdamW.
        clip: maximum gradient norm.
        accumulation: batches per update; each term is a mean over all of them, but `Collapse` compares facts only
            within one batch.
        precision: ``no`` or ``bf16`` (autocast; the weights keep their dtype).
        blocks: train only the blocks from the first to the last: numbers counted from 1, or shares of the depth; None
            trains all.
        lora: train an adapter instead of the weights.
        reference: where the teacher's logits come from: ``precomputed`` once, a frozen ``copy``, or the model with its
            ``adapter`` off; ``auto`` uses the adapter if there is one, else precomputes up to 2 GiB, else copies.
        save_every: epochs between checkpoints, if there is a folder for them.
        seed: of probes, order and contexts.
    """

    epochs: int = 50
    batch_size: int = 4
    retained: int | None = None
    learning_rate: float = 1e-4
    probe_learning_rate: float | None = None
    warmup: float = 0.0
    decay: bool = False
    weight_decay: float = 0.01
    clip: float = 1.0
    accumulation: int = 1
    precision: Literal["no", "bf16"] = "no"
    blocks: Blocks | None = None
    lora: LoRA | None = None
    reference: Teacher = "auto"
    save_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation", "save_every"):
            check_count(name, getattr(self, name))
        if self.retained is not None:
            check_count("retained", self.retained)
        if not 0 <= self.seed < 2**63:
            raise ConfigurationError(f"seed is from 0 to {2**63 - 1}; this one has {self.seed.bit_length()} bits")
        rates = (self.learning_rate, 1.0 if self.probe_learning_rate is None else self.probe_learning_rate)
        if not all(0 < rate < math.inf for rate in rates) or not self.clip > 0:
            raise ConfigurationError("learning_rate, probe_learning_rate and clip must be above 0")
        if not 0 <= self.weight_decay < math.inf or not 0 <= self.warmup <= 1:
            raise ConfigurationError(
                f"weight_decay is at least 0 and warmup from 0 to 1, not {self.weight_decay} and {self.warmup}"
            )
        if self.precision not in ("no", "bf16"):
            raise ConfigurationError(f"precision is 'no' or 'bf16', not {self.precision!r}")
        if self.reference not in get_args(Teacher):
            raise ConfigurationError(f"reference is one of {', '.join(get_args(Teacher))}, not {self.reference!r}")
        if self.reference == "adapter" and self.lora is None:
            raise ConfigurationError("reference='adapter' switches an adapter off; set lora=LoRA() to have one")


@dataclass(frozen=True)
class EngramStart:
    """An engram edit before training: remove the facts' directions with μ above ``threshold``, in closed form.

    Attributes:
        threshold: of the projector ``mnemotomy.Hard``; None weighs each direction by its μ, as the paper does.
        strength: of the erasure.
        sites: by the PEFT convention.
        outputs: erase only what also writes in the facts' directions, which costs a pretrained model less.
        subjects: read the facts at the last token of their subject alone, not at every token.
        blocks: edit only the blocks from the first to the last, as in ``Training``; None edits all.
        cut: the smallest ``λ/λ_max`` of Σ_total that is inverted, the paper's by default. Moments are in float64.
    """

    threshold: float | None = 0.5
    strength: float = 1.0
    sites: str | tuple[str, ...] = "all-linear"
    outputs: bool = False
    subjects: bool = False
    blocks: Blocks | None = None
    cut: float = 1e-6

    @classmethod
    def at_subjects(cls, **changes: Any) -> EngramStart:
        """The edit for pretrained models, where a model recalls what it knows of a subject.

        That is the MLPs of the lower blocks, at the subject's last token (Meng et al., arXiv 2202.05262; Geva et al.,
        arXiv 2304.14767). What comes after the subject plays no part there, so all phrasings are forgotten alike. The
        cut is low, as a few large activations would hide the directions of single subjects.
        """
        return replace(cls(threshold=0.2, sites=MLP_OUTPUTS, subjects=True, blocks=(1, DEPTH), cut=RATIO), **changes)


@dataclass(frozen=True)
class RLCP:
    """The Regenerative Logic-Core Protocol (Fang & Sun 2026, Algorithm 1); the defaults are the paper's.

    ``L = λ_RAG · L_RAG + λ_adv · L_P + L_L + λ_KL · L_KL + λ_retain · L_retain``; the last term is ours, 0 by default.

    Attributes:
        lambda_adv, lambda_rag, lambda_kl: weights of the adversary (at 0 it only watches), the survival stream, and
            the KL on ``x_no``.
        lambda_retain: weight of the KL to the reference on the retain set.
        layer: l*, the probed layer: a block's number, a share of the depth (20 of 24 by default), or a module's name.
        adversary: pushes the facts out of the hidden states.
        suppression: makes the answers improbable without context, or None.
        schedule: of the adversary's strength α.
        kl_on: whether the KL on ``x_no`` counts every position (``all``) or skips those that predict the answer.
        counterfactuals: share of the survival stream's contexts that contradict the fact.
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
            raise ConfigurationError(f"counterfactuals is a share from 0 to 1; it is {self.counterfactuals}")

    @property
    def acting(self) -> Adversary:
        """The adversary, or a probe that only watches if its weight is 0."""
        return self.adversary if self.lambda_adv > 0 else Watching()

    @property
    def needs_prompts(self) -> bool:
        """Whether the stream without context is used."""
        return self.lambda_adv > 0 or self.lambda_kl > 0 or self.suppression is not None

    @classmethod
    def just_rag(cls, **changes: Any) -> RLCP:
        """Baseline B: the survival stream and the KL, without forgetting."""
        return replace(cls(lambda_adv=0.0, suppression=None, adversary=Watching()), **changes)

    @classmethod
    def unlikelihood(cls, **changes: Any) -> RLCP:
        """Baseline C: suppression of the answers alone."""
        return replace(cls(lambda_adv=0.0, lambda_rag=0.0, lambda_kl=0.0, adversary=Watching()), **changes)

    @classmethod
    def without(cls, part: Ablation, **changes: Any) -> RLCP:
        """The published protocol without one part."""
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
        """A variant that works: bounded losses, and the KL on the retain set (``retain=``).

        The adversary collapses the facts' states at every block from l* on (`Collapse`), suppression stops once
        the answer is gone (`Unlikelihood`), and half of the survival stream's contexts contradict the weights.
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
        """An engram edit removes the facts; the stable protocol repairs the damage.

        The edit also harms reading about the facts' subjects, hence the heavier survival stream.
        """
        return replace(cls.stable(engram=EngramStart(), lambda_rag=4.0), **changes)

    @classmethod
    def from_subjects(cls, **changes: Any) -> RLCP:
        """For pretrained models: the edit is made at the facts' subjects (``EngramStart.at_subjects``), then repaired.

        It needs facts whose prompts contain their subjects, and spares other subjects best if it is given some
        (``neighbours=``). The sizes were chosen on SmolLM2-135M (docs/results/real-rlcp.md).
        """
        training = Training(
            epochs=16, batch_size=5, retained=24, learning_rate=1e-4, warmup=0.05, decay=True, weight_decay=0.0
        )
        weights = {"lambda_adv": 1.0, "lambda_rag": 4.0, "lambda_retain": 40.0}
        return replace(cls.stable(engram=EngramStart.at_subjects(), training=training, **weights), **changes)


def described(value: Any) -> Any:
    """A configuration as plain data for a record, each part with its kind."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = {} if isinstance(value, RLCP | Training | LoRA | EngramStart) else {"kind": type(value).__name__}
        return kind | {f.name: described(getattr(value, f.name)) for f in fields(value)}
    return list(value) if isinstance(value, tuple) else value
