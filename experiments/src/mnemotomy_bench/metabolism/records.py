"""What the metabolism bench writes."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from mnemotomy_bench.metrics.decodability import LayerReading


class Attention(TypedDict):
    """At l*, at the prediction step, with the true context: entropy in nats, weights in [0, 1]."""

    attention_entropy: float
    evidence_weight: float
    evidence_weight_best_head: float


class FreshProbes(TypedDict):
    """The best reading from l* on by kind of probe, chance, and every layer that was read."""

    fresh_linear: float
    fresh_two_layer: float
    fresh_shuffled: float
    chance: float
    layers: list[LayerReading]


class Measured(Attention, FreshProbes):
    """One model: shares of right answers, and the perplexity of held-out texts."""

    recall_train: float
    recall_heldout: float
    context_train: float
    counterfactual_train: float
    context_heldout: float
    counterfactual_heldout: float
    other_facts: float
    reading: float
    arithmetic: float
    perplexity: float
    relations: NotRequired[float]


class Trained(TypedDict):
    """Of the probe that training works against, accuracy and loss in the last epoch; and the largest gradient norm."""

    adversarial_probe: float | None
    probe_loss: NotRequired[float | None]
    gradient_norm: NotRequired[float]


class Cell(Measured, Trained):
    """One configuration with one seed; ``seconds`` of training, ``stopped`` says why it ended early."""

    seconds: float
    stopped: str | None
    seed: int
    name: str
    config: dict[str, Any] | None
    versions: dict[str, str]
    key: str


class Summary(TypedDict):
    """One configuration: also the mean of every number of its cells, and ``…_spread``, the standard deviation."""

    configuration: str
    seeds: list[int]
    layers: list[LayerReading]
    stopped: list[str]
    config: dict[str, Any] | None
    versions: dict[str, str]


class Reasoning(TypedDict):
    """``reasoning`` on GSM8K."""

    reasoning: dict[str, Any]


class Mechanism(Reasoning, total=False):
    """What is measured on one configuration's model besides the table."""

    tsne: dict[str, Any]
    attention: dict[str, Any]
    magnified: dict[str, Any]
    gradients: dict[str, Any]
    energy: dict[str, Any]


class Decoupled(TypedDict):
    """Shares of the questions: answered right without and with the store, and after changes of the store.

    ``stale`` is the old answer after a change, which only the weights can give.
    """

    without_store: float
    with_store: float
    others_with_store: float
    follows_change: float
    stale: float
    answered_after_deletion: float
    admits_deletion: float
    admits_absent: float


class DecoupledSeed(Decoupled):
    """The same of one seed."""

    seed: int
