"""RLCP as an unlearner: answers leave the weights, and the model learns to read them from the prompt instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.modules import device_of, observing
from mnemotomy.data.fact import PromptFormat
from mnemotomy.metabolism.probe import Layer, hidden_size, hidden_states, resolve_layer
from mnemotomy.metabolism.terms import NegativeCrossEntropy, Reversal, Sigmoid, kl_divergence
from mnemotomy.methods.language.gradient import (
    EPOCHS,
    GENTLE,
    LEARNING_RATES,
    GradientMethod,
    kl,
    nll,
    over_tokens,
    retained,
)
from mnemotomy.methods.language.loop import Loss, Step
from mnemotomy.methods.language.predictions import predicted
from mnemotomy.methods.language.problem import TextProblem, answered, sequences
from mnemotomy.methods.registry import register
from mnemotomy.text.batches import padded
from mnemotomy.text.encoding import IGNORED, Encoded
from mnemotomy.training.adapter import unwrapped


@register(
    "rlcp",
    "RLCP",
    "Fang & Sun 2026, Decoupling Logic from Facts via Regenerative Unlearning",
    needs=("questions",),
    cost="10 epochs of the forget set twice and of the retain set, forwards and backwards",
    grid={"learning_rate": LEARNING_RATES, "suppression": (0.25, 0.5), "epochs": EPOCHS},
    small={"learning_rate": GENTLE, "epochs": (2,)},
)
class RLCPUnlearning(GradientMethod):
    """``L = λ_RAG L_RAG + λ_adv L_P + L_L + λ_KL L_KL`` (Fang & Sun 2026, Algorithm 1) for questions with long answers.

    The paper's facts have one-word answers, several questions each, and sentences that state them. Here each example to
    forget is a fact, and its counterparts are:

    - ``x_no`` is the question; ``L_L = −0.5 CE`` is over all tokens of its answer, and has no lower bound.
    - ``x_rag`` is the question after ``Context:`` and its own answer, which ``L_RAG`` learns to repeat from there.
    - ``y_probe`` is the answer's first token; the probe reads the state at the position before it.
    - ``L_KL`` is over the answers of the retain set, which the paper does not have; ``kl_on="asked"`` takes it over
      ``x_no``, as the paper does, where it also resists what ``L_L`` changes.

    Attributes:
        lambda_adv, lambda_rag, lambda_kl: weights of the adversary, of reading from context, and of the divergence.
        suppression: weight of ``−CE`` in ``L_L``.
        layer: l*, the probe's place; 20 of 24 blocks in the paper.
        kl_on: the sequences for the divergence from the reference.
        probe_learning_rate: of the probe, which starts untrained.
    """

    lambda_adv: float = 2.0
    lambda_rag: float = 1.0
    lambda_kl: float = 5.0
    suppression: float = 0.5
    layer: Layer = 20 / 24
    kl_on: Literal["retain", "asked"] = "retain"
    probe_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lambda_adv", "lambda_rag", "lambda_kl", "suppression"):
            if not getattr(self, name) >= 0.0:
                raise ConfigurationError(f"{name} is at least 0, not {getattr(self, name)}")
        if self.kl_on not in ("retain", "asked"):
            raise ConfigurationError(f"kl_on is 'retain' or 'asked', not {self.kl_on!r}")
        if not self.probe_learning_rate > 0.0:
            raise ConfigurationError(f"probe_learning_rate is above 0, not {self.probe_learning_rate}")

    def objective(self, problem: TextProblem) -> Loss:
        return RLCPObjective(self, problem)


class _Asked(NamedTuple):
    """Logits of a batch, and the token that each position should predict."""

    logits: Tensor
    labels: Tensor


class RLCPObjective(nn.Module):
    """The terms of one step, and the probe, trained at its own ``learning_rate``."""

    def __init__(self, method: RLCPUnlearning, problem: TextProblem) -> None:
        super().__init__()
        self.method, self.problem = method, problem
        self.learning_rate = method.probe_learning_rate
        self.asked = sequences(problem, problem.forget)
        self.told = [
            answered(problem, PromptFormat().join([one.answer], one.question), one.answer) for one in problem.forget
        ]
        firsts = [next((label for label in row.labels if label != IGNORED), IGNORED) for row in self.asked]
        classes = sorted(set(firsts) - {IGNORED})
        self.classes = [classes.index(token) if token != IGNORED else IGNORED for token in firsts]
        self.layer = resolve_layer(problem.model, method.layer)
        self._reading = over_tokens(lambda step: [self.told[i] for i in step.forget], nll(problem))
        self._holding = over_tokens(retained(problem), kl(problem))
        self.adversary, self.schedule = Reversal(), Sigmoid()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(problem.seed)
            self.probes = self.adversary.probes(hidden_size(problem.model), len(classes), 1)
        self.probes.to(device_of(problem.model))

    def forward(self, model: nn.Module, step: Step) -> Tensor:
        """The weighted sum of the terms."""
        method = self.method
        rows = [self.asked[index] for index in step.forget]
        with hidden_states(unwrapped(model), [self.layer]) as states:
            asked = self._forward(model, rows)
        last = (asked.labels != IGNORED).int().argmax(1)  # the position that predicts the answer's first token
        probed = {self.layer: states[self.layer][torch.arange(len(rows), device=last.device), last]}
        labels = torch.tensor([self.classes[index] for index in step.forget], device=last.device)
        alpha = self.schedule(step.progress)
        verdict = self.adversary(self.probes, probed, labels, torch.zeros_like(labels), alpha)
        tokens = step.share(lambda part: predicted([self.asked[index] for index in part.forget]))
        total = method.lambda_adv * verdict.loss * step.share()
        total = total + NegativeCrossEntropy(method.suppression)(*asked) * tokens
        if method.lambda_rag:
            total = total + method.lambda_rag * self._reading(model, step)
        return total + method.lambda_kl * self._divergence(model, asked, rows, step) if method.lambda_kl else total

    def _divergence(self, model: nn.Module, asked: _Asked, rows: Sequence[Encoded], step: Step) -> Tensor:
        if self.method.kl_on == "retain":
            return self._holding(model, step)
        with observing(self.problem.model):
            reference = self._forward(self.problem.model, rows).logits
        read = step.share(lambda part: sum(len(self.asked[index].input_ids) for index in part.forget))
        counted = self._batch(rows)["attention_mask"].bool()
        return kl_divergence(asked.logits[counted], reference[counted]) * read

    def _forward(self, model: nn.Module, rows: Sequence[Encoded]) -> _Asked:
        batch = self._batch(rows)
        labels = torch.full_like(batch["labels"], IGNORED)
        labels[:, :-1] = batch.pop("labels")[:, 1:]
        return _Asked(model(**batch, use_cache=False).logits, labels)

    def _batch(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        device = device_of(self.problem.model)
        return {name: value.to(device) for name, value in padded(rows, self.problem.tokenizer).items()}
