"""The input of the closed-form methods: moments of the forget set and the retain set, from one forward pass each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.engram.collect import collect
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.sites import Selector, select_sites
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.text.batches import BATCH_SIZE, Batch, batches
from mnemotomy.text.encoding import Positions, check_positions
from mnemotomy.text.records import TextExample

FORGET, RETAIN = "forget", "retain"


@dataclass(frozen=True, kw_only=True)
class Collecting:
    """The projections to edit, and the tokens that enter their moments.

    Attributes:
        sites: which maps, as in ``mnemotomy.collect``: by default every linear one but the output head; the paper edits
            ``["all-linear", "output-head"]``.
        layers: only these blocks, hence neither the head nor the embedding.
        positions: ``answer`` for the answers' tokens, ``predicting`` for those that predict them and the end token,
            ``all`` for the prompt too (``encoding.Positions``).
        read: the most retained examples to read, drawn at random; None for all.
        batch_size: of the collecting passes.
    """

    sites: Selector = "all-linear"
    layers: Sequence[int] | None = None
    positions: Positions = "answer"
    read: int | None = None
    batch_size: int = BATCH_SIZE

    def __post_init__(self) -> None:
        check_positions(self.positions)
        if self.batch_size < 1 or (self.read is not None and self.read < 1):
            raise ConfigurationError(f"batch_size and read are at least 1, not {self.batch_size} and {self.read}")

    def site_names(self, model: nn.Module) -> list[str]:
        """The full names of the sites to edit.

        Raises:
            SelectionError: a name is not in the model.
        """
        return list(select_sites(model, self.sites, self.layers))

    def moments(self, model: nn.Module, problem: TextProblem) -> Moments:
        """Σ⁺ under ``forget`` and Σ⁻ under ``retain``, for each of ``sites``.

        Raises:
            SelectionError: a name is not in the model.
            DataError: an answer has no tokens.
            NonFiniteError: the model overflows.
        """
        return collect(model, dict(self.batches(problem)), sites=self.sites, layers=self.layers)

    def batches(self, problem: TextProblem) -> Iterator[tuple[str, list[Batch]]]:
        """Both sets as batches; their labels mark the tokens that enter the moments."""
        for name, examples in ((FORGET, problem.forget), (RETAIN, some(problem.retain, self.read, problem.seed))):
            yield (
                name,
                batches(
                    problem.tokenizer,
                    examples,
                    template=problem.template,
                    positions=self.positions,
                    batch_size=self.batch_size,
                    max_length=problem.max_length,
                ),
            )


def some(examples: Sequence[TextExample], count: int | None, seed: int) -> list[TextExample]:
    """At most ``count`` of them, drawn in random order; with None, all in their own order."""
    if count is None:
        return list(examples)
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
    return [examples[int(index)] for index in order[:count]]
