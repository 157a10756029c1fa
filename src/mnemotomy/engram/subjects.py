"""Moments where a model recalls a subject: in the MLPs of the lower blocks, at the last token of its name.

Nothing after the name plays a part there, so one edit serves every phrasing (Meng et al. 2022, arXiv 2202.05262; Geva
et al. 2023, arXiv 2304.14767).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.moments import Moments
from mnemotomy.text.batches import Batch
from mnemotomy.text.encoding import IGNORED

MLP_OUTPUTS = r".*\.(down_proj|dense_4h_to_h|fc_out|fc2|w2|mlp\.c_proj)"
"""The second projections of MLPs, by the names that transformers gives them."""

DEPTH = 0.3
"""The share of the blocks to edit, the lowest ones; chosen on SmolLM2 (docs/results/real-rlcp.md)."""

RATIO = 1e-9
"""The least λ/λ_max to invert: a few activations are so large that 1e-6 hides the directions of single subjects."""

PROMPTS, NEIGHBOURS = "prompts", "neighbours"
"""Concepts of the reference: the other tokens of what names the subjects, and the last tokens of other subjects."""

Ended = tuple[Batch, Sequence[int]]
"""A batch with the position of the last token of each example's subject."""


def at_subjects(concept: str, own: Iterable[Ended], others: Iterable[Ended] = ()) -> dict[str, list[Batch]]:
    """Batches to collect: ``concept`` at its subjects, ``PROMPTS``, and ``NEIGHBOURS`` if there are any."""
    own, others = list(own), list(others)
    found: dict[str, list[Batch]] = {
        concept: [_marked(*one) for one in own],
        PROMPTS: [_marked(*one, elsewhere=True) for one in own],
    }
    return found | ({NEIGHBOURS: [_marked(*one) for one in others]} if others else {})


def collected(model: nn.Module, data: Mapping[str, Sequence[Batch]], sites: Sequence[str], **options: Any) -> Moments:
    """The moments in float64."""
    return collect(model, data, sites=sites, options=CollectOptions(dtype=torch.float64, **options))


def weighed(moments: Moments, concept: str) -> Moments:
    """The moments with ``NEIGHBOURS``, if there are any, repeated to weigh as much as the rest of the reference."""
    if NEIGHBOURS not in moments.concepts:
        return moments
    counts = {name: max(moments.count(site, name) for site in moments.readers) for name in moments.concepts}
    rest = sum(count for name, count in counts.items() if name not in (concept, NEIGHBOURS))
    return moments.repeated({NEIGHBOURS: max(1, round(rest / counts[NEIGHBOURS]))})


def _marked(batch: Batch, ends: Sequence[int], *, elsewhere: bool = False) -> Batch:
    """The batch with labels at each subject's last token, or at every other token."""
    ids, mask = batch["input_ids"], batch["attention_mask"].bool()
    at = torch.zeros_like(mask)
    at[torch.arange(len(ends)), torch.tensor(ends)] = True
    marked = mask & ~at if elsewhere else at
    return {"input_ids": ids, "attention_mask": batch["attention_mask"], "labels": ids.masked_fill(~marked, IGNORED)}
