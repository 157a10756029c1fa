"""Which token comes next: the likeliest, or one drawn from the nucleus (Holtzman et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.core.seeds import mix

_LIKELIEST = (64, 512, 4096)  # of a large vocabulary, sorting these is usually enough


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn.

    Attributes:
        samples: texts per prompt.
        temperature: of the softmax.
        top_p: the probability of the nucleus, the smallest set of likeliest tokens that has it; 1 for all tokens.
        seed: a prompt's texts depend on it and on the prompt's place, not on the batches.
    """

    samples: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def numbers(self, prompts: Sequence[int], length: int) -> Float[Tensor, "rows length"]:
        """The random numbers in [0, 1) of each row and token; the rows of a prompt follow each other."""
        rows = [
            torch.rand(self.samples, length, generator=torch.Generator().manual_seed(mix(self.seed, prompt)))
            for prompt in prompts
        ]
        return torch.cat(rows)

    def choose(
        self,
        logits: Float[Tensor, "rows vocabulary"],
        numbers: Float[Tensor, " texts"],
        rows: Int[Tensor, " texts"] | None = None,
    ) -> Int[Tensor, " texts"]:
        """A token for each text: the one at which the nucleus' cumulated probability passes the text's number.

        Args:
            logits: of the next token.
            numbers: in [0, 1).
            rows: of the logits that each text goes by; by default the texts' own.
        """
        chances = (logits / self.temperature).softmax(dim=-1)
        rows = torch.arange(len(logits), device=logits.device) if rows is None else rows
        found = torch.empty(len(numbers), dtype=torch.long, device=logits.device)
        left = torch.arange(len(logits), device=logits.device)
        for count in (*_LIKELIEST, logits.shape[-1]):  # sorting all of a large vocabulary takes longer than a model
            if count >= chances.shape[-1]:
                values, tokens = chances[left].sort(dim=-1, descending=True)
                enough = torch.ones_like(left, dtype=torch.bool)
            else:
                values, tokens = chances[left].topk(count, dim=-1)
                enough = values.sum(dim=-1) >= self.top_p
            places = torch.full((len(logits),), -1, device=logits.device)
            places[left[enough]] = torch.arange(int(enough.sum()), device=logits.device)
            texts = (places[rows] >= 0).nonzero()[:, 0]
            own = places[rows[texts]]
            found[texts] = self._drawn(values[enough][own], tokens[enough][own], numbers[texts])
            left = left[~enough]
            if not len(left):
                break
        return found

    def _drawn(self, values: Tensor, tokens: Tensor, numbers: Tensor) -> Int[Tensor, " rows"]:
        """From the likeliest tokens, which have the nucleus among them."""
        below = values.cumsum(dim=-1) - values
        nucleus = values.where(below < self.top_p, 0.0).cumsum(dim=-1)
        place = torch.searchsorted(nucleus, (numbers.to(nucleus) * nucleus[:, -1])[:, None], right=True)
        return tokens.gather(1, place.clamp(max=tokens.shape[-1] - 1))[:, 0]
