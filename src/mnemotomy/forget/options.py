"""How to search for an edit that forgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from mnemotomy.core.precision import Precision
from mnemotomy.engram.cut import Cut, RelativeCut
from mnemotomy.engram.sites import Selector
from mnemotomy.text.batches import BATCH_SIZE
from mnemotomy.text.encoding import Positions
from mnemotomy.text.template import OPEN_UNLEARNING, Template

SMALL = 30_000_000
"""Parameters up to which the two-sided edit is tried by default: it takes minutes on larger models."""


@dataclass(frozen=True)
class ForgetOptions:
    """How to search.

    Attributes:
        trials: candidates to try.
        sites, layers: the projections to edit, as for ``mnemotomy.collect``; by default all linear maps of a language
            model but its head, and every layer of a classifier.
        positions: the tokens that enter the moments. By default all: what leads to an answer counts as much as the
            answer, and what a template repeats everywhere has a μ of n⁺/N, which the filters spare.
        template: what stands around questions and answers.
        cut: of Σ_total.
        two_sided: whether to try the two-sided edit; None for models of at most ``SMALL`` parameters.
        precision: of measuring.
        batch_size: of the collecting passes.
        study: an SQLite file that keeps the trials, for one search at a time; beside it, ``written`` keeps what the
            model writes before. None to keep nothing.
        seed: for everything drawn at random.
        progress: show bars on a terminal.
    """

    trials: int = 24
    sites: Selector | None = None
    layers: tuple[int, ...] | None = None
    positions: Positions = "all"
    template: Template = OPEN_UNLEARNING
    cut: Cut = field(default_factory=RelativeCut)
    two_sided: bool | None = None
    precision: Precision = "auto"
    batch_size: int = BATCH_SIZE
    study: Path | None = None
    seed: int = 0
    progress: bool = True

    @property
    def places(self) -> dict[str, Any]:
        """The sites and the blocks, where they were chosen."""
        chosen = {"sites": None if self.sites == "all-linear" else self.sites, "layers": self.layers}
        return {name: value for name, value in chosen.items() if value is not None}

    @property
    def written(self) -> Path | None:
        """The folder that keeps what the model writes."""
        return None if self.study is None else self.study.with_suffix(".written")

    def tries_two_sided(self, model: nn.Module, *, images: bool = False) -> bool:
        """Whether the two-sided edit is among the candidates; by default, if the sites are not chosen either."""
        if self.two_sided is not None:
            return self.two_sided
        every = self.sites is None or (self.sites == "all-linear" and not images)
        every = every and not (images and self.places)  # a classifier's takes every site
        return every and sum(one.numel() for one in model.parameters()) <= SMALL
