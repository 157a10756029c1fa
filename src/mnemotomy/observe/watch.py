"""How well a model knows concepts while transformers' ``Trainer`` trains it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import TrainerCallback

from mnemotomy.core.errors import ConfigurationError, DataError, SurgeryWarning
from mnemotomy.core.modules import device_of, observing
from mnemotomy.text.batches import Batch, Source, batches
from mnemotomy.text.encoding import IGNORED
from mnemotomy.text.template import OPEN_UNLEARNING, Template

BATCH_SIZE = 16


class ConceptWatch(TrainerCallback):  # type: ignore[misc]  # untyped
    """Measure concepts before, during and after a training: whether what was forgotten is learned again.

        watch = mt.ConceptWatch(tokenizer, {"alice": "alice.jsonl"}, every=50, limits={"alice": 3.0})
        Trainer(model, args, train_dataset=data, callbacks=[watch]).train()
        watch.history  # [{"step": 0, "alice": 5.1}, {"step": 50, "alice": 4.2}, ...]

    A measurement is the mean loss of a concept's answers, in nats per token; it takes forward passes of its examples.
    It is also in the trainer's ``state.log_history``, as ``watch_alice_loss``.

    Args:
        tokenizer: the model's.
        concepts: a JSON Lines file for each name, or its lines (``mnemotomy.batches``).
        every: updates between two measurements.
        limits: the least loss that each concept may have; below it the training stops, with a ``SurgeryWarning``.
        template: what stands around questions and answers.

    Raises:
        ConfigurationError: ``every`` is below 1, or a limit names no concept.
        DataError: a file or a line is malformed, or a concept has nothing to predict.
    """

    def __init__(
        self,
        tokenizer: Any,
        concepts: Mapping[str, Source],
        *,
        every: int = 50,
        limits: Mapping[str, float] | None = None,
        template: Template = OPEN_UNLEARNING,
    ) -> None:
        self.limits, self.every = dict(limits or {}), every
        if every < 1:
            raise ConfigurationError(f"every={every} updates: give at least 1")
        if unknown := self.limits.keys() - concepts.keys():
            raise ConfigurationError(f"a limit is given for {min(unknown)!r}, which is not among the concepts")
        self._batches = {
            name: batches(tokenizer, source, template=template, batch_size=BATCH_SIZE)
            for name, source in concepts.items()
        }
        for name, parts in self._batches.items():
            if all(bool((part["labels"][:, 1:] == IGNORED).all()) for part in parts):
                raise DataError(f"nothing in the concept {name!r} can be predicted: give longer texts")
        self.history: list[dict[str, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Measure before the first update, without the limits."""
        self._measure(state, others["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Measure after every ``every`` updates."""
        if state.global_step % self.every == 0:
            self._check(self._measure(state, others["model"]), control)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Measure the result."""
        if self.history[-1]["step"] != state.global_step:
            self._check(self._measure(state, others["model"]), control)

    def _measure(self, state: Any, model: nn.Module) -> dict[str, float]:
        losses = {name: _mean_loss(model, parts) for name, parts in self._batches.items()}
        self.history.append({"step": state.global_step, **losses})
        logged = {f"watch_{name}_loss": loss for name, loss in losses.items()}
        state.log_history.append({**logged, "epoch": state.epoch, "step": state.global_step})
        return losses

    def _check(self, losses: Mapping[str, float], control: Any) -> None:
        known = [name for name, limit in self.limits.items() if losses[name] < limit]
        for name in known:
            warnings.warn(
                f"the model learns {name!r} again: the loss of its answers is {losses[name]:.3g} nats per token, below "
                f"the limit of {self.limits[name]:g}; training stops",
                SurgeryWarning,
                stacklevel=2,
            )
        control.should_training_stop |= bool(known)


def _mean_loss(model: nn.Module, parts: list[Batch]) -> float:
    """Nats per token of the answers."""
    total, count, device = 0.0, 0, device_of(model)
    with observing(model):
        for part in parts:
            inputs = {name: part[name].to(device) for name in ("input_ids", "attention_mask")}
            labels = part["labels"][:, 1:].to(device)
            logits = model(**inputs).logits[:, :-1].float()
            losses = nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="sum")
            total, count = total + float(losses), count + int((labels != IGNORED).sum())
    return total / count
