"""Which concept each row of a layer's input belongs to: from examples and token masks to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from mnemotomy.engram.sites import OneHot, Reading
from mnemotomy.errors import RowsError

IGNORED = -100  # transformers' label of positions that do not count
TEXT, ENCODER, OTHER = "text", "encoder", "other"
_TEXT_INPUTS = ("input_ids", "decoder_input_ids", "inputs_embeds")


@dataclass
class RowLabels:
    """The concept of every example of one batch, and of every token where tokens are masked.

    Attributes:
        examples: the concept of each example, −1 for none.
        tokens: per stream (``text``: the tokens that the model predicts; ``encoder``: those an encoder reads), the
            concept of each token, −1 where it does not count.
        whole: the concept, when every row of the batch belongs to it and no token is masked.
    """

    examples: Int[Tensor, batch]
    tokens: dict[str, Int[Tensor, "batch length"]] = field(default_factory=dict)
    whole: int | None = None

    def of(self, reading: Reading, stream: str, site: str) -> tuple[int | Tensor, Tensor]:
        """The concepts of the rows of one reading, and its tensor, as ``add_input_`` takes them.

        Raises:
            RowsError: the rows cannot be matched to examples or tokens.
        """
        lead, size = _leading(reading), len(self.examples)
        tensor = reading.tensor
        if lead[0] == 1 and size > 1 and reading.tokens is None:  # one row of positions that serves every example
            tensor = tensor.expand(size, *tensor.shape[1:])
            lead = torch.Size((size, *lead[1:]))
        if self.whole is not None:
            return self.whole, tensor
        tokens = self.tokens.get(stream)
        if reading.tokens is not None and tokens is not None:
            return tokens.reshape(-1)[reading.tokens], tensor
        if reading.tokens is None and tokens is not None and lead[:2] == tokens.shape:
            return tokens, tensor
        if reading.tokens is None and tokens is not None and lead == (tokens.numel(),):
            return tokens.reshape(-1), tensor
        if reading.tokens is None and lead[0] == size:
            return self.examples, tensor
        raise self._unmatched(reading, site)

    def to(self, device: torch.device) -> RowLabels:
        """The same on another device."""
        moved = {stream: labels.to(device) for stream, labels in self.tokens.items()}
        return RowLabels(self.examples.to(device), moved, self.whole)

    def _unmatched(self, reading: Reading, site: str) -> RowsError:
        shapes = ", ".join(f"{stream} {list(labels.shape)}" for stream, labels in self.tokens.items())
        return RowsError(
            f"site {site!r} reads rows of shape {list(reading.tensor.shape)}, which cannot be matched to the "
            f"{len(self.examples)} examples of the batch{f' (tokens: {shapes})' if shapes else ''}; "
            "give batches that hold one concept only and have no mask, or leave the site out"
        )


def _leading(reading: Reading) -> torch.Size:
    if reading.layout.batched:
        return reading.tensor.shape[:1]
    return reading.tensor.shape if isinstance(reading.layout, OneHot) else reading.tensor.shape[:-1]


def label_rows(batch: Any, concepts: Sequence[int], mask: Tensor | None, encoder_decoder: bool) -> RowLabels:
    """Labels for one batch.

    Args:
        batch: what the model is called with.
        concepts: the concept of each example, −1 for none.
        mask: ``[batch, length]``, true where a token counts; by default where ``labels`` are set, and where
            ``attention_mask`` is one.
        encoder_decoder: whether ``attention_mask`` speaks of the encoder's tokens and ``labels`` of the decoder's.
    """
    examples = torch.as_tensor(list(concepts), dtype=torch.long)
    masks = _token_masks(batch, mask, encoder_decoder)
    tokens = {
        stream: torch.where(keep.bool().cpu(), examples[:, None], torch.tensor(-1)) for stream, keep in masks.items()
    }
    first = int(examples[0]) if len(examples) else -1
    uniform = bool((examples == first).all()) and first >= 0
    whole = first if uniform and all(bool((labels >= 0).all()) for labels in tokens.values()) else None
    return RowLabels(examples, tokens, whole)


def _token_masks(batch: Any, mask: Tensor | None, encoder_decoder: bool) -> dict[str, Tensor]:
    if not isinstance(batch, Mapping):
        return {} if mask is None else {TEXT: mask}
    attention, labels = batch.get("attention_mask"), batch.get("labels")
    masks: dict[str, Tensor] = {}
    if isinstance(labels, Tensor) and labels.dim() == 2:
        masks[TEXT] = labels != IGNORED
    if isinstance(attention, Tensor) and attention.dim() == 2:
        if encoder_decoder:
            masks[ENCODER] = attention.bool()
        elif TEXT in masks:
            masks[TEXT] = masks[TEXT] & attention.bool()
        else:
            masks[TEXT] = attention.bool()
    if mask is not None:
        masks[TEXT] = mask
    if TEXT not in masks and not encoder_decoder and isinstance(batch.get("input_ids"), Tensor):
        masks[TEXT] = torch.ones_like(batch["input_ids"], dtype=torch.bool)
    return masks


def stream_of(model: nn.Module, site: str) -> str:
    """Which stream of tokens a site reads: the text's, an encoder's, or none of them (images, sound)."""
    stream, module, encoder = TEXT, model, text_encoder(model)
    for part in ["", *site.split(".")]:
        child = getattr(module, part, None) if part else module
        if not isinstance(child, nn.Module):
            break
        module = child
        if module is encoder:
            return ENCODER
        main_input = getattr(module, "main_input_name", None)
        if main_input is not None:
            stream = TEXT if main_input in _TEXT_INPUTS else OTHER
    return stream


def text_encoder(model: nn.Module) -> nn.Module | None:
    """The encoder of an encoder-decoder model, whose output is the input of cross-attention."""
    if not is_encoder_decoder(model):
        return None
    get = getattr(model, "get_encoder", None)
    encoder = get() if callable(get) else None
    return encoder if isinstance(encoder, nn.Module) and encoder is not model else None


def is_encoder_decoder(model: nn.Module) -> bool:
    """Whether the model reads one text and writes another."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
