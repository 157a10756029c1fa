"""Preparation of training: the retain set, the engram edit to start from, and the frozen reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mnemotomy.core.errors import ConfigurationError, ModelError
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.filters import Hard, Soft
from mnemotomy.engram.strength import erase
from mnemotomy.metabolism.reference import PRECOMPUTED_AT_MOST, AdapterOff, FrozenCopy, Precomputed, Reference
from mnemotomy.metabolism.rlcp import RLCP, EngramStart
from mnemotomy.metabolism.streams import LONGEST, Sequences, Streams, encode_texts
from mnemotomy.training.adapter import unwrapped


class Retained:
    """The retain set, encoded on demand; the first ``longest`` tokens of each text are read."""

    def __init__(self, texts: Sequence[str], tokenizer: Any, longest: int = LONGEST) -> None:
        self.texts, self.tokenizer, self.longest = tuple(texts), tokenizer, longest

    def __len__(self) -> int:
        return len(self.texts)

    def encode(self, indices: Sequence[int]) -> Sequences:
        """The texts with these numbers."""
        return encode_texts([self.texts[index] for index in indices], self.tokenizer, self.longest)


def reference_for(model: Any, config: RLCP, streams: Streams, retained: Retained) -> Reference | None:
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
    if asked:
        found.add(model, "asked", len(streams.examples), streams.without_context)
    if kept:
        found.add(model, "retained", len(retained), retained.encode)
    return found


def start_from_engram(model: nn.Module, start: EngramStart, streams: Streams, retained: Retained) -> None:
    """Erase the facts in closed form, in place; their prompts with answers are the concept.

    Raises:
        ModelError: the retain set is empty.
    """
    if not len(retained):
        raise ModelError("an engram edit needs a retain set: give retain=[...] (--retain FILE)")

    def batches(encode: Any, count: int) -> list[dict[str, torch.Tensor]]:
        found = [encode(range(at, min(at + 64, count))) for at in range(0, count, 64)]
        return [{"input_ids": one.input_ids, "attention_mask": one.attention_mask} for one in found]

    concepts = {
        "facts": batches(streams.without_context, len(streams.examples)),
        "retained": batches(retained.encode, len(retained)),
    }
    base = unwrapped(model)
    moments = collect(base, concepts, sites=start.sites, options=CollectOptions(progress=False))
    atlas = Atlas(base, moments)
    filter = Soft() if start.threshold is None else Hard(start.threshold)
    erase(atlas, "facts", strength=start.strength, filter=filter, outputs=start.outputs).apply_(base)


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
