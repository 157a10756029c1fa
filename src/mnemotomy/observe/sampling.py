"""Which token comes next: the likeliest, or one drawn from the nucleus (Holtzman et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.core.seeds import mix

_ROWS = 8  # of logits at a time: their probabilities fit into a processor's cache
_LIKELIEST = 4096  # of a large vocabulary, sorting these is usually enough


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn.

    Attributes:
        samples: texts per prompt.
        temperature: of the softmax.
        top_p: the probability of the nucleus, the smallest set of likeliest tokens that has it, with those as likely as
            its last; 1 for all tokens.
        seed: a prompt's texts depend on it and on the prompt's place, not on the batches.
    """

    samples: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def numbers(self, prompts: Sequence[int], length: int) -> Float[Tensor, "rows length 2"]:
        """The random numbers in [0, 1) of each row and token; the rows of a prompt follow each other."""
        rows = [
            torch.rand(self.samples, length, 2, generator=torch.Generator().manual_seed(mix(self.seed, prompt)))
            for prompt in prompts
        ]
        return torch.cat(rows)

    def choose(
        self,
        logits: Float[Tensor, "rows vocabulary"],
        numbers: Float[Tensor, "texts 2"],
        rows: Int[Tensor, " texts"] | None = None,
    ) -> Int[Tensor, " texts"]:
        """A token for each text, drawn from all; in place of one outside the nucleus, one drawn from the nucleus.

        That has the nucleus' distribution, and few rows need sorting, which takes longer than a small model.

        Args:
            logits: of the next token.
            numbers: in [0, 1), for the first and the second draw.
            rows: of the logits that each text goes by; by default the texts' own.
        """
        rows = torch.arange(len(logits), device=logits.device) if rows is None else rows
        rows, texts = rows.sort()
        found = torch.empty_like(texts)
        for start in range(0, len(logits), _ROWS):
            chances = (logits[start : start + _ROWS].float() / self.temperature).softmax(dim=-1)
            here = (rows >= start) & (rows < start + _ROWS)
            own, (first, second) = rows[here] - start, numbers[texts[here]].T
            cumulated = chances.cumsum(dim=-1)
            if not torch.equal(own, torch.arange(len(chances), device=own.device)):  # copying takes as long as drawing
                chances, cumulated = chances[own], cumulated[own]
            tokens = _drawn(cumulated, first)
            likelier = chances.where(chances > chances.gather(1, tokens), 0.0).sum(dim=-1)
            outside = (likelier >= self.top_p).nonzero()[:, 0]
            if len(outside):
                tokens[outside] = self._from_nucleus(chances[outside], second[outside])
            found[texts[here]] = tokens[:, 0]
        return found

    def _from_nucleus(self, chances: Tensor, numbers: Tensor) -> Int[Tensor, "texts 1"]:
        found = torch.empty(len(chances), 1, dtype=torch.long, device=chances.device)
        left = torch.arange(len(chances), device=chances.device)
        for count in (min(_LIKELIEST, chances.shape[-1]), chances.shape[-1]):
            values, tokens = chances[left].topk(count, dim=-1)
            inside = values.cumsum(dim=-1) - values < self.top_p
            least = values.gather(1, inside.sum(dim=-1, keepdim=True) - 1)
            place = _drawn(values.where(values >= least, 0.0).cumsum(dim=-1), numbers[left])
            found[left] = tokens.gather(1, place)
            left = left[values[:, -1] >= least[:, 0]]  # whose nucleus may go on
            if not len(left) or count == chances.shape[-1]:
                break
        return found


def _drawn(cumulated: Float[Tensor, "texts n"], numbers: Float[Tensor, " texts"]) -> Int[Tensor, "texts 1"]:
    """The place at which the cumulated probability passes the number's share of the whole."""
    place = torch.searchsorted(cumulated, (numbers.to(cumulated) * cumulated[:, -1])[:, None], right=True)
    return place.clamp(max=cumulated.shape[-1] - 1)
