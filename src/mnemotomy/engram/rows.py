"""Which concept each row of a layer's input belongs to: from examples and token masks to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from mnemotomy.core.errors import DataError, RowsError
from mnemotomy.engram.sites import OneHot, Reading

IGNORED = -100  # transformers' label of positions that do not count
TEXT, ENCODER, OTHER = "text", "encoder", "other"
_TEXT_INPUTS = ("input_ids", "decoder_input_ids", "inputs_embeds")


@dataclass
class RowLabels:
    """The concept of every example of one batch, and of every token where tokens are masked.

    Attributes:
        examples: the concept of each example, −1 for none.
        tokens: per stream (``text``: the tokens that the model predicts; ``encoder``: those an encoder reads;
            ``other``: patches of images, if there is a mask), the concept of each token, −1 if it does not count.
        whole: the concept, if every row of the batch belongs to it and no token is masked.
    """

    examples: Int[Tensor, " batch"]
    tokens: dict[str, Int[Tensor, "batch length"]] = field(default_factory=dict)
    whole: int | None = None

    def of(self, reading: Reading, stream: str, site: str) -> tuple[int | Tensor, Tensor]:
        """The concepts of the rows of one reading, and its tensor, as ``add_input_`` takes them.

        Raises:
            RowsError: the rows cannot be matched to examples or tokens.
        """
        tensor, tokens = reading.tensor, self.tokens.get(stream)
        if tokens is not None and reading.layout.batched:
            labels = self._along(reading, tokens)
        elif reading.tokens is None:
            positions = tokens is not None and isinstance(reading.layout, OneHot) and _is_position_index(tensor)
            labels = None if positions else self._match(_leading(reading, tensor), tokens)
            if labels is None and self._serves_every_example(reading):
                tensor = tensor.expand(len(self.examples), *tensor.shape[int(tensor.shape[:1] == (1,)) :])
                labels = self._match(_leading(reading, tensor), tokens)
        else:
            labels = None if tokens is None else tokens.reshape(-1)[reading.tokens]
        if self.whole is not None and (labels is None or not reading.layout.batched):
            return self.whole, tensor
        if labels is None:
            raise self._unmatched(reading, site)
        return labels, tensor

    def _along(self, reading: Reading, tokens: Tensor) -> Tensor | None:
        """Labels ``[batch, positions]`` of a convolution along a text; None if its positions are not the tokens.

        They are the tokens if it keeps the length of the text, or if it pads the front so far that only positions
        behind the text are extra, which causal convolutions cut off.
        """
        positions = reading.layout.positions(reading.tensor)
        size, length = tokens.shape
        if reading.tensor.dim() != 3 or tuple(reading.tensor.shape[::2]) != (size, length) or positions is None:
            return None
        return F.pad(tokens, (0, positions - length), value=-1)

    def _match(self, lead: torch.Size, tokens: Tensor | None) -> Tensor | None:
        """Labels for rows with these leading dimensions: by token if they are tokens, else by example."""
        if tokens is not None and lead[:2] == tokens.shape:
            return tokens
        if tokens is not None and lead in ((tokens.numel(),), (1, tokens.numel())):
            return tokens.reshape(lead)
        size = len(self.examples)
        if lead[:1] == (size,):
            return self.examples
        if tokens is None and len(lead) >= 2 and size and lead[0] % size == 0 and lead[1] != size:
            return self.examples.repeat_interleave(lead[0] // size)  # images cut into consecutive windows
        return None

    @staticmethod
    def _serves_every_example(reading: Reading) -> bool:
        """Whether the rows are positions that all examples of the batch share."""
        return isinstance(reading.layout, OneHot) or (not reading.layout.batched and reading.tensor.shape[0] == 1)

    def to(self, device: torch.device) -> RowLabels:
        """The same on another device."""
        moved = {stream: labels.to(device) for stream, labels in self.tokens.items()}
        return RowLabels(self.examples.to(device), moved, self.whole)

    def _unmatched(self, reading: Reading, site: str) -> RowsError:
        shapes = ", ".join(f"{stream} {list(labels.shape)}" for stream, labels in self.tokens.items())
        return RowsError(
            f"site {site!r} reads rows of shape {list(reading.tensor.shape)}, which cannot be matched to the "
            f"{len(self.examples)} examples of the batch{f' (tokens: {shapes})' if shapes else ''}; "
            "give batches of one concept without a mask, or leave the site out"
        )


def _leading(reading: Reading, tensor: Tensor) -> torch.Size:
    if reading.layout.batched:
        return tensor.shape[:1]
    return tensor.shape if isinstance(reading.layout, OneHot) else tensor.shape[:-1]


def _is_position_index(indices: Tensor) -> bool:
    """Whether they are positions in a text (0, 1, 2, …, or a table of distances), the same for all examples."""
    if indices.dim() == 1:
        return len(indices) > 1 and torch.equal(indices, torch.arange(len(indices)).to(indices))
    square = indices.dim() == 2 and indices.shape[0] == indices.shape[1] > 1
    return square and torch.equal(indices[1:, 1:], indices[:-1, :-1]) and bool((indices != indices[0, 0]).any())


def label_rows(batch: Any, concepts: Sequence[int], mask: Tensor | None, encoder_decoder: bool) -> RowLabels:
    """Labels for one batch.

    Args:
        batch: what the model is called with.
        concepts: the concept of each example, −1 for none.
        mask: ``[batch, length]``, true where a token counts; by default where ``labels`` are set and
            ``attention_mask`` is 1.
        encoder_decoder: whether ``attention_mask`` is of the encoder's tokens and ``labels`` of the decoder's.
    """
    examples = torch.as_tensor(list(concepts), dtype=torch.long)
    masks = _token_masks(inputs_of(batch), mask, encoder_decoder)
    for keep in masks.values():
        if keep.dim() != 2 or keep.shape[0] != len(examples):
            raise DataError(f"a mask of tokens has the shape {list(keep.shape)}, not [{len(examples)}, length]")
    tokens = {
        stream: torch.where(keep.bool().cpu(), examples[:, None], torch.tensor(-1)) for stream, keep in masks.items()
    }
    first = int(examples[0]) if len(examples) else -1
    uniform = bool((examples == first).all()) and first >= 0
    whole = first if uniform and all(bool((labels >= 0).all()) for labels in tokens.values()) else None
    return RowLabels(examples, tokens, whole)


def inputs_of(batch: Any) -> Any:
    """What the model is called with: the batch itself, or the first entry of ``(inputs, target)``."""
    return batch[0] if isinstance(batch, list | tuple) else batch


def _token_masks(inputs: Any, mask: Tensor | None, encoder_decoder: bool) -> dict[str, Tensor]:
    masks: dict[str, Tensor] = {}
    if isinstance(inputs, Tensor) and inputs.dim() == 2 and not inputs.is_floating_point():  # token ids
        masks[TEXT] = torch.ones(inputs.shape, dtype=torch.bool)
    if isinstance(inputs, Mapping):
        attention, labels, read = _matrix(inputs, "attention_mask"), _matrix(inputs, "labels"), _text_shape(inputs)
        if encoder_decoder:
            if attention is not None:
                masks[ENCODER] = attention.bool()
            attention = _matrix(inputs, "decoder_attention_mask")
        kept = [] if attention is None else [attention.bool()]
        if labels is not None and (encoder_decoder or labels.shape == read):  # else labels of examples, not of tokens
            kept.append(labels != IGNORED)
        if kept:
            masks[TEXT] = kept[0] if len(kept) == 1 else kept[0] & kept[1].to(kept[0].device)
        elif read is not None and not encoder_decoder:
            masks[TEXT] = torch.ones(read, dtype=torch.bool)
    if mask is not None:
        reads_text = isinstance(inputs, Mapping) and _text_shape(inputs) is not None
        masks |= {TEXT: mask} if reads_text else {TEXT: mask, OTHER: mask}  # of images, tokens are patches
    return masks


def _matrix(inputs: Mapping[str, Any], name: str) -> Tensor | None:
    value = inputs.get(name)
    return value if isinstance(value, Tensor) and value.dim() == 2 else None


def _text_shape(inputs: Mapping[str, Any]) -> torch.Size | None:
    """``[batch, length]`` of the text that the model reads, if any."""
    for name in ("input_ids", "inputs_embeds"):
        value = inputs.get(name)
        if isinstance(value, Tensor) and value.dim() >= 2:
            return value.shape[:2]
    return None


def stream_of(model: nn.Module, site: str) -> str:
    """The stream of tokens that a site reads: the text's, an encoder's, or neither (images, sound)."""
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
    whole = next(module for module in model.modules() if hasattr(module, "config"))
    get = getattr(whole, "get_encoder", None)
    encoder = get() if callable(get) else None
    return encoder if isinstance(encoder, nn.Module) and encoder is not whole else None


def is_encoder_decoder(model: nn.Module) -> bool:
    """Whether the model, perhaps inside a wrapper, reads one text and writes another."""
    config = next((module.config for module in model.modules() if hasattr(module, "config")), None)
    return bool(getattr(config, "is_encoder_decoder", False))
