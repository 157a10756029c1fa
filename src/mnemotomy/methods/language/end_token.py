"""Whether the end token belongs to the answers: found out from the model, which may never have learned to end them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import nn

from mnemotomy.methods.language.predictions import sequence_log_probabilities
from mnemotomy.text.encoding import IGNORED, Encoded, encode
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import Template

EndToken = Literal["auto"] | bool
"""``True`` or ``False``: whether an end token follows each answer. ``auto``: if the model expects it there."""

EXAMPLES = 16
"""The most answers to look at in each set."""


@dataclass(frozen=True)
class Ending:
    """Whether the end token is part of the answers, and why.

    Attributes:
        setting: what was asked for.
        counts: whether it is.
        loss: the model's median loss on it after the answers, in nats; None where that was not measured.
        limit: half the loss of a uniform guess, nearer to certain than to chance below.
    """

    setting: EndToken
    counts: bool
    loss: float | None = None
    limit: float | None = None

    def describe(self) -> dict[str, Any]:
        """For a record."""
        return asdict(self)


def ending(
    model: nn.Module,
    tokenizer: Any,
    sets: Sequence[Sequence[TextExample]],
    template: Template,
    setting: EndToken,
    max_length: int,
) -> Ending:
    """What ``setting`` comes to for these questions; without any, the end token counts, and nothing depends on it.

    A model trained on answers with their end token expects it: its loss there is near 0. A pretrained model that
    continues texts does not: "Kyoto is a city in the country of Japan" is hardly ever a whole text, and the loss of 10
    to 20 nats on the end token would hide what the model knows of the answer.

    Args:
        sets: of examples.
        setting: the user's choice.
        max_length: in tokens; longer examples tell nothing about the end.
    """
    if setting != "auto":
        return Ending(setting, bool(setting))
    rows: list[Encoded] = []
    for examples in sets:
        asked = [one for one in examples if one.form == "question"]
        rows += [encode(one, tokenizer, template) for one in asked[:: max(1, len(asked) // EXAMPLES)][:EXAMPLES]]
    ends = [
        Encoded(row.input_ids, [IGNORED] * (len(row.labels) - 1) + row.labels[-1:])
        for row in rows
        if len(row.input_ids) <= max_length
    ]
    if not ends:
        return Ending(setting, True)
    losses = sorted((-sequence_log_probabilities(model, ends, tokenizer)).tolist())
    loss, limit = losses[len(losses) // 2], 0.5 * math.log(len(tokenizer))
    return Ending(setting, loss < limit, round(loss, 3), round(limit, 3))
