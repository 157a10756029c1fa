"""What other models think of a model's answers: a classifier of gibberish, or a base model's losses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ModelError
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.core.modules import device_of, observing, window_of
from mnemotomy.text.batches import equal_lengths
from mnemotomy.text.tokenizing import tokenized

GIBBERISH_DETECTOR = "madhurjindal/autonlp-Gibberish-Detector-492513457"
"""OpenUnlearning's classifier."""

CLEAN = "clean"
_MAX_LENGTH = 512


def probability_clean(classifier: str | Path, texts: Sequence[str], *, batch_size: int = 32) -> list[float]:
    """The probability that each text is clean, which is 0 for an empty one.

    Args:
        classifier: a folder or hub id of a sequence classifier, with a class ``clean``.
        texts: to be judged.
        batch_size: the most texts in a batch.

    Raises:
        ModelError: there is no such model, it is no classifier, or none of its classes is ``clean``.
    """
    model, tokenizer = load_classifier(classifier)
    clean = _classes(model)[CLEAN]
    encoded = [tokenized(tokenizer, text, truncation=True, max_length=_MAX_LENGTH)["input_ids"] for text in texts]
    found_by = dict.fromkeys(range(len(texts)), 0.0)
    spoken = [index for index, text in enumerate(texts) if text.strip()]
    with observing(model):
        for group in equal_lengths([len(encoded[index]) for index in spoken], batch_size):
            indices = [spoken[place] for place in group]
            ids = torch.tensor([encoded[index] for index in indices], device=device_of(model))
            chances = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float().softmax(dim=-1)
            found_by |= dict(zip(indices, chances[:, clean].tolist(), strict=True))
    return list(found_by.values())


def load_classifier(classifier: str | Path) -> tuple[Any, Any]:
    """The model and its tokenizer.

    Raises:
        ModelError: there is no such model, it is no classifier, or none of its classes is ``clean``.
    """
    model, tokenizer = cast(Any, load_model(classifier)), load_tokenizer(classifier)
    names = _classes(model)
    if not type(model).__name__.endswith("ForSequenceClassification") or CLEAN not in names:
        found = ", ".join(names) or "none"
        raise ModelError(
            f"{classifier} cannot judge fluency: a sequence classifier with a class {CLEAN!r} is needed, as "
            f"{GIBBERISH_DETECTOR}; this is a {type(model).__name__} with the classes {found}"
        )
    return model, tokenizer


def losses_under(base: nn.Module, tokenizer: Any, texts: Sequence[str], *, batch_size: int = 32) -> list[float | None]:
    """The average loss of each text under a base model, in nats; None for an empty one.

    The text stands alone after the end token, which says that something new begins; it has no question before it.

    Raises:
        ModelError: the tokenizer has neither a beginning nor an end token.
    """
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise ModelError("the base model's tokenizer has no token after which a text can begin; set its bos_token")
    most = min(_MAX_LENGTH, window_of(base) or _MAX_LENGTH) - 1
    encoded = [tokenized(tokenizer, text, add_special_tokens=False)["input_ids"][:most] for text in texts]
    found: list[float | None] = [None] * len(texts)
    spoken = [index for index, ids in enumerate(encoded) if ids]
    with observing(base):
        for group in equal_lengths([len(encoded[index]) for index in spoken], batch_size):
            indices = [spoken[place] for place in group]
            ids = torch.tensor([[start, *encoded[index]] for index in indices], device=device_of(base))
            for index, loss in zip(indices, _losses(base, ids).tolist(), strict=True):
                found[index] = loss
    return found


def _classes(model: Any) -> dict[str, int]:
    return {str(name).lower(): int(index) for index, name in (getattr(model.config, "id2label", None) or {}).items()}


def _losses(model: nn.Module, ids: Tensor) -> Float[Tensor, " rows"]:
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").mean(dim=1)
