"""Which token comes next: the likeliest, or one drawn from the nucleus (Holtzman et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.core.seeds import mix

_LIKELIEST = (64, 4096)  # of a large vocabulary, sorting these is usually enough


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

    def choose(self, logits: Float[Tensor, "rows vocabulary"], numbers: Float[Tensor, " rows"]) -> Int[Tensor, " rows"]:
        """A token for each row: the one at which the nucleus' cumulated probability passes the row's number."""
        chances = (logits / self.temperature).softmax(dim=-1)
        found = torch.empty(len(chances), dtype=torch.long, device=chances.device)
        left = torch.arange(len(chances), device=chances.device)
        for count in (*_LIKELIEST, chances.shape[-1]):  # sorting all of a large vocabulary takes longer than a model
            if count >= chances.shape[-1]:
                values, tokens = chances[left].sort(dim=-1, descending=True)
                enough = torch.ones_like(left, dtype=torch.bool)
            else:
                values, tokens = chances[left].topk(count, dim=-1)
                enough = values.sum(dim=-1) >= self.top_p
            rows = left[enough]
            found[rows] = self._drawn(values[enough], tokens[enough], numbers[rows])
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
