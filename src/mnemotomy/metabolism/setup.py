"""Preparation of training: the retain set, the engram edit to start from, and the frozen reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from mnemotomy.core.errors import ConfigurationError, ModelError, SelectionError
from mnemotomy.core.progress import progress_bar
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.cut import RelativeCut
from mnemotomy.engram.filters import Hard, Soft
from mnemotomy.engram.sites import select_sites
from mnemotomy.engram.strength import erase
from mnemotomy.engram.subjects import Ended, at_subjects, collected, weighed
from mnemotomy.metabolism.probe import blocks_between
from mnemotomy.metabolism.reference import PRECOMPUTED_AT_MOST, AdapterOff, FrozenCopy, Precomputed, Reference
from mnemotomy.metabolism.rlcp import RLCP, EngramStart
from mnemotomy.metabolism.streams import LONGEST, Sequences, Streams, encode_texts
from mnemotomy.text.batches import Batch
from mnemotomy.training.adapter import unwrapped

AT_ONCE = 64
"""Texts in a batch whose moments are collected."""


class Retained:
    """The retain set, encoded on demand; the first ``longest`` tokens of each text are read."""

    def __init__(self, texts: Sequence[str], tokenizer: Any, longest: int = LONGEST) -> None:
        self.texts, self.tokenizer, self.longest = tuple(texts), tokenizer, longest

    def __len__(self) -> int:
        return len(self.texts)

    def encode(self, indices: Sequence[int]) -> Sequences:
        """The texts with these numbers."""
        return encode_texts([self.texts[index] for index in indices], self.tokenizer, self.longest)


def reference_for(
    model: Any, config: RLCP, streams: Streams, retained: Retained, *, progress: bool = False
) -> Reference | None:
    """The reference that the configuration needs, or None. Call this before any edit."""
    asked, kept = config.lambda_kl > 0, config.lambda_retain > 0
    if not (asked or kept):
        return None
    kind, precision = config.training.reference, config.training.precision
    if kind == "auto":
        kind = "adapter" if config.training.lora is not None and config.engram is None else "precomputed"
        if kind == "precomputed" and _bytes(model, config, streams, retained) > PRECOMPUTED_AT_MOST:
            kind = "copy"
    if kind == "adapter":
        if config.engram is not None:
            raise ConfigurationError(
                "after an engram edit, the model without its adapter is the edited model, not the reference; set "
                "reference='precomputed' or 'copy'"
            )
        return AdapterOff(model, precision)
    if kind == "copy":
        return FrozenCopy(model, precision)
    found = Precomputed(precision)
    texts = {"asked": (len(streams.examples), streams.without_context)} if asked else {}
    texts |= {"retained": (len(retained), retained.encode)} if kept else {}
    with progress_bar("reference", sum(count for count, _ in texts.values()), enabled=progress) as advance:
        for stream, (count, encode) in texts.items():
            found.add(model, stream, count, encode, advance)
    return found


def start_from_engram(
    model: nn.Module,
    start: EngramStart,
    streams: Streams,
    retained: Retained,
    neighbours: Streams | None = None,
    *,
    progress: bool = False,
) -> None:
    """Erase the facts in closed form, in place; their prompts with answers are the concept.

    At their subjects, the other tokens of those prompts belong to the reference, and so do the neighbours' subjects,
    which weigh as much as all other tokens of it together.

    Args:
        start: what to edit, and how.
        streams: of the facts.
        retained: the retain set.
        neighbours: facts about other subjects; their answers play no part.
        progress: show bars.

    Raises:
        ModelError: the retain set is empty, or the model has none of the blocks.
        DataError: a prompt does not contain its subject.
        SelectionError: the model has no such sites, or none in these blocks.
    """
    if not len(retained):
        raise ModelError("an engram edit needs a retain set: give retain=[...] (--retain FILE)")
    if start.subjects:
        concepts = at_subjects("facts", _ended(streams), [] if neighbours is None else _ended(neighbours))
    else:
        concepts = {"facts": _batches(streams.without_context, len(streams.examples))}
    concepts["retained"] = _batches(retained.encode, len(retained))
    base = unwrapped(model)
    sites = list(select_sites(base, list(start.sites) if isinstance(start.sites, tuple) else start.sites))
    if start.blocks is not None:
        within = tuple(f"{name}." for name in blocks_between(base, *start.blocks))
        sites = [site for site in sites if site.startswith(within)]
        if not sites:
            raise SelectionError(f"{start.sites!r} has no site in the blocks {start.blocks[0]} to {start.blocks[1]}")
    moments = collected(base, concepts, sites, progress=progress)
    atlas = Atlas(base, weighed(moments, "facts"), cut=RelativeCut(start.cut))
    filter = Soft() if start.threshold is None else Hard(start.threshold)
    edit = erase(atlas, "facts", strength=start.strength, filter=filter, outputs=start.outputs)
    edit.apply_(base, progress=progress)


def _batches(encode: Callable[[Sequence[int]], Sequences], count: int) -> list[Batch]:
    found = [encode(range(at, min(at + AT_ONCE, count))) for at in range(0, count, AT_ONCE)]
    return [{"input_ids": one.input_ids, "attention_mask": one.attention_mask} for one in found]


def _ended(streams: Streams) -> list[Ended]:
    """The prompts with their answers, each with the last token of its subject."""
    starts = range(0, len(streams.examples), AT_ONCE)
    indices = [range(at, min(at + AT_ONCE, len(streams.examples))) for at in starts]
    batches = _batches(streams.without_context, len(streams.examples))
    return [(batch, [streams.subject_end(i) for i in some]) for batch, some in zip(batches, indices, strict=True)]


def freeze_outside(model: nn.Module, blocks: Sequence[str]) -> None:
    """Freeze all weights but those of these blocks."""
    trained = tuple(f"{name}." for name in blocks)
    for name, parameter in model.named_parameters():
        if not name.startswith(trained):
            parameter.requires_grad_(False)


def _bytes(model: Any, config: RLCP, streams: Streams, retained: Retained) -> int:
    """Bytes of the logits that precomputing would keep."""
    tokens = 0
    if config.lambda_kl > 0:
        tokens += sum(int(streams.without_context([i]).attention_mask.sum()) for i in range(len(streams.examples)))
    if config.lambda_retain > 0:
        tokens += sum(int(retained.encode([i]).attention_mask.sum()) for i in range(len(retained)))
    return 4 * tokens * int(unwrapped(model).get_output_embeddings().weight.shape[0])  # type: ignore[operator]
