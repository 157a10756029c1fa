"""Guards of commands: signs that an edit ruins the model or does nothing are errors, unless forced."""

from __future__ import annotations

import contextlib
import math
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TextIO

from torch import nn

from mnemotomy.core.errors import ConfigurationError, SurgeryWarning
from mnemotomy.core.modules import observing
from mnemotomy.forget.general import GENERAL, WRITES
from mnemotomy.methods.language.predictions import predict, predicted
from mnemotomy.text.encoding import MAX_LENGTH, Encoded, encode
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import OPEN_UNLEARNING, Template

COLLAPSE = math.log(2.0)
"""Nats per token by which the loss on what should stay may rise: its perplexity doubles."""

NOTHING = 0.05
"""Nats per token by which the loss on a forget set must rise, or nothing was forgotten."""

EXAMPLES = 32
"""The most of each set, drawn at random; reading them takes two short passes."""

_TOKENS = 1024  # in a forward pass: with a large vocabulary, their logits are what takes memory

Set = Literal["forget", "retain", "general sentences"]


@dataclass
class Guards:
    """What speaks against one edit, or against what training did.

    Attributes:
        forced: note every concern and continue.
        concerns: found so far.
        sets: the examples that are read before and after the edit.
        losses: their mean loss, in nats per token.
    """

    forced: bool
    concerns: list[str] = field(default_factory=list)
    sets: dict[Set, list[Encoded]] = field(default_factory=dict)
    losses: dict[Set, dict[str, float]] = field(default_factory=dict)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, a ``SurgeryWarning`` is an error or, if forced, noted and shown.

        Raises:
            ConfigurationError: it was an error.
        """
        with warnings.catch_warnings():
            if not self.forced:
                warnings.simplefilter("error", SurgeryWarning)
                try:
                    yield
                except SurgeryWarning as warning:
                    self._raise("nothing was edited", [str(warning)])
                return
            shown = warnings.showwarning

            def noted(
                message: Warning | str,
                category: type[Warning],
                filename: str,
                lineno: int,
                file: TextIO | None = None,
                line: str | None = None,
            ) -> None:
                if issubclass(category, SurgeryWarning):
                    self.concerns.append(str(message))
                shown(message, category, filename, lineno, file, line)

            warnings.showwarning = noted
            yield

    def draw(
        self, name: Set, examples: Sequence[TextExample], encoded: Callable[[list[TextExample]], list[Encoded]]
    ) -> None:
        """Read some of these examples before and after; none if nothing in them is to be predicted."""
        rows = encoded(random.Random(0).sample(examples, EXAMPLES) if len(examples) > EXAMPLES else list(examples))
        if predicted(rows):
            self.sets[name] = rows

    def draw_general(self, tokenizer: Any) -> None:
        """General sentences, where there is no retain set."""
        self.draw("general sentences", [*map(TextExample.of_text, GENERAL)], answers(tokenizer, OPEN_UNLEARNING))

    def read(self, model: nn.Module, tokenizer: Any, when: Literal["before", "after"]) -> None:
        """The mean loss of each set; general sentences count only for a model that writes them."""
        for name, rows in list(self.sets.items()):
            loss = mean_loss(model, tokenizer, rows)
            writes = loss <= WRITES * math.log(len(tokenizer))
            if when == "before" and name == "general sentences" and not writes:
                del self.sets[name]
            else:
                self.losses.setdefault(name, {})[when] = loss

    def check(self) -> None:
        """Refuse an edit after which what should stay is lost, or nothing is forgotten.

        Raises:
            ConfigurationError: it says the losses before and after, and what to do.
        """
        found = []
        for name, loss in self.losses.items():
            before, after = loss["before"], loss["after"]
            count = len(self.sets[name])
            of = name if name == "general sentences" else f"example{'s' if count > 1 else ''} of the {name} set"
            numbers = (
                f"the mean loss on {count} {of} is {before:.3g} nats per token before the edit and {after:.3g} after"
            )
            if name != "forget" and not after - before <= COLLAPSE:
                found.append(
                    f"{numbers}, so what should stay is lost; take a smaller strength or learning rate, a filter or a "
                    "method that spares more, or retain more like it"
                )
            if name == "forget" and after - before < NOTHING:
                found.append(
                    f"{numbers}, so nothing was forgotten; take a larger strength or learning rate, a lower "
                    "threshold, or another method"
                )
        if found and not self.forced:
            self._raise("nothing was saved", found)
        self.concerns += found
        for concern in found:
            warnings.warn(concern, SurgeryWarning, stacklevel=2)

    def record(self) -> dict[str, Any]:
        """For ``mnemotomy.json``."""
        counts = {name: len(rows) for name, rows in self.sets.items()}
        losses = {name: {**loss, "examples": counts[name]} for name, loss in self.losses.items()}
        return {"forced": self.forced, "concerns": self.concerns, "losses": losses}

    @staticmethod
    def _raise(what: str, concerns: Sequence[str]) -> None:
        raise ConfigurationError(
            f"{what}: {'; '.join(concerns)}. To do it all the same, give --force ('force: true' in a recipe)"
        ) from None


def answers(
    tokenizer: Any, template: Template, max_length: int = MAX_LENGTH
) -> Callable[[list[TextExample]], list[Encoded]]:
    """Makes tokens of examples; only the content is to be predicted."""

    def encoded(examples: list[TextExample]) -> list[Encoded]:
        rows = [encode(one, tokenizer, template, max_length=max_length) for one in examples]
        return [Encoded(row.input_ids, row.marked("answer")) for row in rows]

    return encoded


def mean_loss(model: nn.Module, tokenizer: Any, rows: Sequence[Encoded]) -> float:
    """In nats per predicted token of all rows together; not finite where the model's outputs are not."""
    order = sorted(rows, key=lambda row: len(row.input_ids))
    size = max(1, _TOKENS // len(order[-1].input_ids))
    total, tokens = 0.0, 0
    with observing(model):
        for start in range(0, len(order), size):
            found = predict(model, order[start : start + size], tokenizer)
            total -= float(found.log_probabilities().double().sum())
            tokens += len(found.targets)
    return total / tokens
