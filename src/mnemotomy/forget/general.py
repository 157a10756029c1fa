"""General sentences, to see whether a model still writes as before."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from mnemotomy.methods.language.predictions import predicted_tokens, sequence_log_probabilities
from mnemotomy.text.encoding import MAX_LENGTH, Encoded, encode
from mnemotomy.text.records import TextExample

GENERAL = (
    "The shop on the corner sells newspapers, stamps and cold drinks until ten in the evening.",
    "A river carries more water in spring, when the snow in the mountains melts.",
    "He counted the chairs twice and found that two of them were missing.",
    "Because the road was closed, the bus took the longer way through the villages.",
    "To make the sauce, melt the butter slowly and stir in a spoonful of flour.",
    "The two sisters had not spoken for a year when the letter arrived.",
    "An electric current flows only where the circuit is closed.",
    "The teacher asked everyone to open the book on page forty and read the first paragraph.",
    "Cats sleep for most of the day, but they hear the smallest sound.",
    "If twelve apples cost three coins, then twenty apples cost five coins.",
    "The report was finished on time, although half of the team had been ill.",
    "In winter the lake freezes, and people cross it on foot to reach the island.",
    "She practised the same piece every morning until her neighbours knew it by heart.",
    "A contract is valid once both sides have signed it.",
    "The old clock in the hall strikes every hour, always a little too early.",
    "Wash the vegetables in cold water, cut them small and put them aside.",
)
"""Sentences of our own; an audit has other ones."""

WRITES = 0.5
"""The share of the surprise of one that knows no word more than another, at most, that general English is to a model
that writes it. SmolLM2 of 135 million parameters has 0.41, a model of a toy world more than 1."""


def general_rows(model: nn.Module, tokenizer: Any) -> list[Encoded]:
    """General sentences as tokens; none for a model that does not write them, of another language or a toy world."""
    rows = [encode(TextExample.of_text(text), tokenizer, max_length=MAX_LENGTH) for text in GENERAL]
    mean = sequence_log_probabilities(model, rows, tokenizer).cpu() / predicted_tokens(rows)
    return rows if -float(mean.mean()) <= WRITES * math.log(len(tokenizer)) else []
