"""Terms of the objective: adversaries and their schedules, suppression, homeostasis (Algorithm 1)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.metabolism.probe import LinearProbe
from mnemotomy.text.encoding import IGNORED


class Schedule(ABC):
    """A function from progress in [0, 1] to strength."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """The strength at ``progress``."""


@dataclass(frozen=True)
class Sigmoid(Schedule):
    """``α = 2 / (1 + exp(−steepness · p)) − 1``: 0 at first, near 1 from the middle on; 10 in the paper."""

    steepness: float = 10.0

    def __call__(self, progress: float) -> float:
        return 2.0 / (1.0 + math.exp(-self.steepness * progress)) - 1.0


@dataclass(frozen=True)
class Constant(Schedule):
    """The same strength throughout: the ablation without a schedule."""

    strength: float = 1.0

    def __call__(self, progress: float) -> float:
        return self.strength


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, states: Tensor, alpha: float) -> Tensor:
        context.alpha = alpha
        return states.view_as(states)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -context.alpha * gradients[0], None


def reverse_gradient(states: Tensor, alpha: float) -> Tensor:
    """``GRL(h, α)`` of Algorithm 1: returns ``states`` unchanged and multiplies the gradient by ``−alpha``."""
    return _Reversal.apply(states, alpha)  # type: ignore[no-untyped-call]


States = Mapping[str, Float[Tensor, "n d"]]


class Verdict(NamedTuple):
    """The adversary's terms on a batch.

    Attributes:
        loss: minimised by the model and the probes together, before ``λ_adv``.
        probe_loss: cross-entropy of the probe at l*, ``L_P``.
        probe_accuracy: of the same probe.
    """

    loss: Tensor
    probe_loss: Tensor
    probe_accuracy: Tensor


class Adversary:
    """A loss on hidden states at the prediction step, with its own probes.

    Attributes:
        deeper: whether it acts on every block from l* on, and not on l* alone.
    """

    deeper: ClassVar[bool] = False

    def __call__(
        self, probes: nn.ModuleList, states: States, labels: Int[Tensor, " n"], slots: Int[Tensor, " n"], alpha: float
    ) -> Verdict:
        """The terms on ``states`` of examples with these answers (``labels``) and prompts (``slots``)."""
        first = next(iter(states.values()))
        logits = probes[0](self.shown(first, alpha))
        loss = nn.functional.cross_entropy(logits, labels)
        accuracy = (logits.detach().argmax(-1) == labels).float().mean()
        return Verdict(self.loss(loss, probes, states, labels, slots, alpha), loss.detach(), accuracy)

    def shown(self, states: Float[Tensor, "n d"], alpha: float) -> Tensor:
        """The first probe's input; detached, so that the probe only watches."""
        return states.detach()

    def loss(
        self, probe_loss: Tensor, probes: nn.ModuleList, states: States, labels: Tensor, slots: Tensor, alpha: float
    ) -> Tensor:
        """What the model and the probes minimise."""
        return probe_loss

    def probes(self, width: int, classes: int, layers: int) -> nn.ModuleList:
        """The probes, the one at l* first."""
        return nn.ModuleList(LinearProbe(width, classes) for _ in range(layers))


@dataclass(frozen=True)
class Watching(Adversary):
    """No adversary: a probe is trained and sends no gradient to the model. For baselines and ablations.

    Its gradient counts in the clipping norm, like every probe's.
    """


@dataclass(frozen=True)
class Reversal(Adversary):
    """The paper's: one linear probe at l* behind gradient reversal. The model's loss, ``−CE``, has no lower bound."""

    def shown(self, states: Tensor, alpha: float) -> Tensor:
        return reverse_gradient(states, alpha)


@dataclass(frozen=True)
class Collapse(Adversary):
    """Pull the states of all facts asked with the same prompt to their mean, at every block from l* on.

    A linear probe reads nothing if and only if the class means agree (Belrose et al. 2023, Theorem 3.1), so this is
    the best linear adversary in closed form. The loss is the share of the states' variance that distinguishes the
    facts, from 0 to 1, on a log scale: a probe reads small differences as well as large ones.

    Attributes:
        floor: the share below which a difference counts as gone.
    """

    deeper: ClassVar[bool] = True
    floor: float = 1e-7

    def probes(self, width: int, classes: int, layers: int) -> nn.ModuleList:
        return super().probes(width, classes, 1)  # to watch; an unused probe would break distributed training

    def loss(
        self, probe_loss: Tensor, probes: nn.ModuleList, states: States, labels: Tensor, slots: Tensor, alpha: float
    ) -> Tensor:
        shares = torch.stack([spread(state.float(), slots) for state in states.values()])
        return probe_loss + alpha * torch.log1p(shares / self.floor).mean() / torch.log1p(torch.tensor(1 / self.floor))


def spread(states: Float[Tensor, "n d"], slots: Int[Tensor, " n"]) -> Tensor:
    """The squared distance of the states from their slot's mean, relative to their squared norm."""
    same = (slots[:, None] == slots[None, :]).to(states)
    with torch.autocast(states.device.type, enabled=False):  # small differences matter
        means = same @ states / same.sum(1, keepdim=True)
    return (states - means).square().sum() / states.detach().square().sum().clamp_min(1e-30)


_HALF = -0.7  # log-probability at which `Unlikelihood` changes formula


class Suppression(ABC):
    """A loss on the logits of ``x_no`` that falls as the answer becomes less probable."""

    @abstractmethod
    def __call__(self, logits: Float[Tensor, "n length vocabulary"], labels: Int[Tensor, "n length"]) -> Tensor:
        """``labels[:, t]`` is the token that position ``t`` should predict, or −100."""


@dataclass(frozen=True)
class NegativeCrossEntropy(Suppression):
    """``L_L = −weight · CE(logits, y_lm)``, with 0.5 in the paper. It has no lower bound."""

    weight: float = 0.5

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return -self.weight * answer_cross_entropy(logits, labels)


@dataclass(frozen=True)
class Unlikelihood(Suppression):
    """``−weight · log(1 − p(answer))`` (Welleck et al. 2020): loss and gradient vanish once the answer is gone."""

    weight: float = 1.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        counted = labels != IGNORED
        said, answers = logits[counted].float(), labels[counted][:, None]
        log_p = said.log_softmax(-1).gather(-1, answers)[:, 0]
        gone = -torch.log1p(-log_p.clamp(max=_HALF).exp())
        # from the other tokens' logits: where the model is sure, 1 − p is 0 in float32 and would have no gradient
        known = said.logsumexp(-1) - said.scatter(-1, answers, -torch.inf).logsumexp(-1)
        return self.weight * torch.where(log_p < _HALF, gone, known).mean()


def answer_cross_entropy(logits: Float[Tensor, "n length vocabulary"], labels: Int[Tensor, "n length"]) -> Tensor:
    """Mean cross-entropy over the answers' tokens."""
    return nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)


def kl_divergence(
    logits: Float[Tensor, "tokens vocabulary"], reference: Float[Tensor, "tokens vocabulary"]
) -> Float[Tensor, ""]:
    """``KL(reference ‖ model)`` in nats, the mean over the tokens; 0 without tokens (Algorithm 1, step 4).

    The paper does not say what it averages over; the mean over tokens makes λ_KL independent of the length.
    """
    found, expected = logits.float().log_softmax(-1), reference.float().log_softmax(-1)
    values = (expected.exp() * (expected - found)).sum(-1)
    return values.mean() if len(values) else values.sum()
