"""What a model writes, shown while it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import nn

from mnemotomy.core.models import quiet_transformers
from mnemotomy.core.modules import device_of, observing
from mnemotomy.observe.generation import check_writes, end_tokens, ignoring_saved_generation_config, room_after
from mnemotomy.text.batches import pad_rows


def write_aloud(
    model: nn.Module,
    tokenizer: Any,
    prompt: Sequence[int],
    max_new_tokens: int,
    show: Callable[[str], None],
    *,
    temperature: float = 0.0,
) -> str:
    """What the model writes after a prompt, shown word by word; without surrounding space.

    Args:
        max_new_tokens: an end token or the model's window stops earlier.
        show: called with each piece of the text.
        temperature: of the softmax, sampled with torch's global generator; 0 takes the likeliest token.

    Raises:
        DataError: the tokenizer has no padding token.
        ModelError: the model cannot generate, or its window leaves no room.
    """
    from transformers import GenerationConfig, TextStreamer

    class Shown(TextStreamer):  # type: ignore[misc]  # transformers is not typed
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if pieces or text.strip():
                pieces.append(text if pieces else text.lstrip())
                show(pieces[-1])

    check_writes(model, tokenizer)
    pieces: list[str] = []
    sampled: dict[str, Any] = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {}
    config = GenerationConfig(
        max_new_tokens=room_after(model, len(prompt), max_new_tokens),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=end_tokens(model, tokenizer) or None,
        **({"do_sample": False} | sampled),
    )
    batch = pad_rows([prompt], tokenizer.pad_token_id, device=device_of(model))
    streamer = Shown(tokenizer, skip_prompt=True, skip_special_tokens=True)
    with observing(model), quiet_transformers(), ignoring_saved_generation_config(model):
        cast(Any, model).generate(**batch, generation_config=config, streamer=streamer)
    return "".join(pieces).strip()
