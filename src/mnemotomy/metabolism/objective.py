"""The objective of Algorithm 1 as one module, so that distributed training can wrap it whole."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mnemotomy.metabolism.probe import hidden_size, hidden_states, layers_from, resolve_layer
from mnemotomy.metabolism.rlcp import RLCP
from mnemotomy.metabolism.streams import Sequences
from mnemotomy.metabolism.terms import answer_cross_entropy, kl_divergence
from mnemotomy.text.encoding import IGNORED
from mnemotomy.training.adapter import unwrapped


class Counts(NamedTuple):
    """The denominators of a step's means: examples, answer tokens of both streams, positions of both KLs."""

    examples: float = 1.0
    asked: float = 1.0
    told: float = 1.0
    positions: float = 1.0
    retained: float = 1.0


class StepInputs(NamedTuple):
    """The input of one step.

    Attributes:
        alpha: the adversary's strength.
        labels, slots: the answer and the prompt of each example, as numbers.
        asked, told: the streams without and with context; None where the configuration does not use them.
        retained: texts of the retain set, or None.
        teacher_asked, teacher_retained: the reference's logits on ``asked`` and ``retained``.
        shares: each term's share of the update's mean, where the step is one part of an update.
    """

    alpha: float
    labels: Int[Tensor, " n"]
    slots: Int[Tensor, " n"]
    asked: Sequences | None
    told: Sequences | None
    retained: Sequences | None
    teacher_asked: Float[Tensor, "n length vocabulary"] | None
    teacher_retained: Float[Tensor, "m length vocabulary"] | None
    shares: Counts = Counts()

    def counts(self, config: RLCP) -> Counts:
        """The denominators of its means."""
        asked, told, kept = self.asked, self.told, self.retained
        return Counts(
            len(self.labels),
            0.0 if asked is None else float((asked.labels != IGNORED).sum()),
            0.0 if told is None else float((told.labels != IGNORED).sum()),
            0.0 if asked is None else float(held(asked, config).sum()),
            0.0 if kept is None else float(kept.attention_mask.sum()),
        )


def held(asked: Sequences, config: RLCP) -> Bool[Tensor, "n length"]:
    """The positions of ``x_no`` in the KL."""
    counted = asked.attention_mask.bool()
    return counted & (asked.labels == IGNORED) if config.kl_on == "prompt" else counted


class Objective(nn.Module):
    """The model, its probes, and the sum of the terms.

    Args:
        model: a causal language model of transformers.
        config: the terms and their weights.
        classes: number of different answers.
    """

    def __init__(self, model: nn.Module, config: RLCP, classes: int) -> None:
        super().__init__()
        self.model, self.config = model, config
        base = unwrapped(model)
        self.adversary = config.acting
        where = layers_from(base, config.layer) if self.adversary.deeper else [resolve_layer(base, config.layer)]
        self.layers = where
        self.probes = self.adversary.probes(hidden_size(base), classes, len(where))

    def forward(self, step: StepInputs) -> dict[str, Tensor]:
        """Each term times its share, and their weighted sum as ``total``."""
        terms: dict[str, Tensor] = {}
        total: Tensor | float = 0.0
        if step.asked is not None:
            total = total + self._without_context(step, step.asked, terms)
        if step.told is not None and self.config.lambda_rag > 0:
            terms["L_RAG"] = answer_cross_entropy(self._logits(step.told), step.told.labels) * step.shares.told
            total = total + self.config.lambda_rag * terms["L_RAG"]
        if step.retained is not None and step.teacher_retained is not None:
            logits = self._logits(step.retained)
            counted = step.retained.attention_mask.bool()
            divergence = kl_divergence(logits[counted], step.teacher_retained[counted])
            terms["L_retain"] = divergence * step.shares.retained
            total = total + self.config.lambda_retain * terms["L_retain"]
        return {**terms, "total": torch.as_tensor(total)}

    def _without_context(self, step: StepInputs, asked: Sequences, terms: dict[str, Tensor]) -> Tensor:
        config = self.config
        with hidden_states(unwrapped(self.model), self.layers) as outputs:
            logits = self._logits(asked)
        rows = torch.arange(len(asked.last), device=asked.last.device)
        states = {name: output[rows, asked.last] for name, output in outputs.items()}
        verdict = self.adversary(self.probes, states, step.labels, step.slots, step.alpha)
        found = {"L_P": verdict.probe_loss, "adversary": verdict.loss, "probe_accuracy": verdict.probe_accuracy}
        terms |= {name: value * step.shares.examples for name, value in found.items()}
        # at weight 0 the probe only watches, but must still learn
        total = (config.lambda_adv or 1.0) * terms["adversary"]
        if config.suppression is not None:
            terms["L_L"] = config.suppression(logits, asked.labels) * step.shares.asked
            total = total + terms["L_L"]
        if config.lambda_kl > 0 and step.teacher_asked is not None:
            counted = held(asked, config)
            divergence = kl_divergence(logits[counted], step.teacher_asked[counted])
            terms["L_KL"] = divergence * step.shares.positions
            total = total + config.lambda_kl * terms["L_KL"]
        return total

    def _logits(self, texts: Sequences) -> Tensor:
        return self.model(input_ids=texts.input_ids, attention_mask=texts.attention_mask, use_cache=False).logits
