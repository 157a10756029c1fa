"""What the closed-form methods read: moments of the forget set and of the retained one, from one forward pass each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from mnemotomy.core.errors import ConfigurationError, SelectionError
from mnemotomy.engram.collect import collect
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.sites import select_sites
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.text.batches import BATCH_SIZE, Batch, batches
from mnemotomy.text.encoding import Positions, check_positions
from mnemotomy.text.records import TextExample

FORGET, RETAIN = "forget", "retain"


@dataclass(frozen=True, kw_only=True)
class Collecting:
    """Which projections are edited, and which tokens their moments are taken over.

    Attributes:
        kinds: projections by name, as ``q_proj``; None for every linear one and the output head, as the paper has it.
        layers: blocks; None for all of them and the output head.
        positions: ``answer`` for the tokens of the answers, ``predicting`` for those that predict them and the end
            token, ``all`` for the prompt too (``encoding.Positions``).
        embeddings: edit the rows of the embedding as well.
        read: the most retained examples to read, drawn at random; None for all.
        batch_size: of the collecting passes.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    kinds: Sequence[str] | None = None
    layers: Sequence[int] | None = None
    positions: Positions = "answer"
    embeddings: bool = False
    read: int | None = None
    batch_size: int = BATCH_SIZE

    def __post_init__(self) -> None:
        check_positions(self.positions)
        if self.batch_size < 1 or (self.read is not None and self.read < 1):
            raise ConfigurationError(
                f"batch size and the examples to read are at least 1, not {self.batch_size} and {self.read}"
            )
        if isinstance(self.kinds, str):
            raise ConfigurationError(f"kinds are a list of names, as [{self.kinds!r}]")

    def sites(self, model: nn.Module) -> list[str]:
        """The full names of the sites that are edited.

        Raises:
            SelectionError: a kind or a block is not in the model.
        """
        linear = select_sites(model, "all-linear")
        there = select_sites(model, "all")
        head = name_of(model, "get_output_embeddings")
        chosen = [name for name in there if name in linear or name == head]
        if self.kinds is not None:
            known = {there[name].kind for name in chosen}
            for kind in self.kinds:
                if kind not in known:
                    raise SelectionError(f"no projection is named {kind!r}; there are {', '.join(sorted(known))}")
            chosen = [name for name in chosen if there[name].kind in self.kinds]
        if self.layers is not None:
            blocks = {there[name].layer for name in chosen}
            for layer in self.layers:
                if layer not in blocks:
                    raise SelectionError(f"there is no block {layer}; there are {sorted(blocks - {None})}")  # type: ignore[type-var]
            chosen = [name for name in chosen if there[name].layer in self.layers]
        embedding = name_of(model, "get_input_embeddings")
        return [*chosen, embedding] if self.embeddings and embedding in there else chosen

    def moments(self, model: nn.Module, problem: TextProblem) -> Moments:
        """Σ⁺ under ``forget`` and Σ⁻ under ``retain``, for each of ``sites``.

        Raises:
            SelectionError: a kind or a block is not in the model.
            DataError: an answer gives no token.
            NonFiniteError: the model overflows.
        """
        return collect(model, dict(self.batches(problem)), sites=self.sites(model))

    def batches(self, problem: TextProblem) -> Iterator[tuple[str, list[Batch]]]:
        """Both sets as batches whose labels mark the tokens that enter the moments."""
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
    """At most ``count`` of them, drawn at random and in random order; all of them as they are for None."""
    if count is None:
        return list(examples)
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
    return [examples[int(index)] for index in order[:count]]


def name_of(model: nn.Module, getter: str) -> str | None:
    """The name of the output head or the embedding, where the model says which it is."""
    get = getattr(model, getter, None)
    wanted = cast("nn.Module | None", get()) if callable(get) else None
    return next((name for name, module in model.named_modules() if module is wanted), None)
