"""How fluent answers are: a classifier of gibberish, or the losses of a base model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor, nn

from mnemotomy.core.errors import ModelError
from mnemotomy.core.fingerprints import fingerprint, tokenizer_digest
from mnemotomy.core.models import check_language_model, load_config, load_model, load_tokenizer, quiet_transformers
from mnemotomy.core.modules import device_of, observing, window_of
from mnemotomy.text.batches import equal_lengths
from mnemotomy.text.tokenizing import tokenized

GIBBERISH_DETECTOR = "madhurjindal/autonlp-Gibberish-Detector-492513457"
"""OpenUnlearning's classifier."""

CLEAN = "clean"
_MAX_LENGTH = 512


def probability_clean(classifier: str | Path, texts: Sequence[str], *, batch_size: int = 32) -> list[float]:
    """The probability that each text is clean; 0 for an empty one.

    Args:
        classifier: a folder or hub id of a sequence classifier with a class ``clean``.

    Raises:
        ModelError: as ``load_classifier``.
    """
    model, tokenizer = load_classifier(classifier)
    clean = _classes(model)[CLEAN]
    encoded = [tokenized(tokenizer, text, truncation=True, max_length=_MAX_LENGTH)["input_ids"] for text in texts]
    found = dict.fromkeys(range(len(texts)), 0.0)
    rows = {index: ids for index, (text, ids) in enumerate(zip(texts, encoded, strict=True)) if text.strip()}
    with observing(model):
        for indices, ids in _batches(rows, batch_size, device_of(model)):
            chances = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float().softmax(dim=-1)
            found |= zip(indices, chances[:, clean].tolist(), strict=True)
    return list(found.values())


def load_judge(name: str | Path) -> tuple[nn.Module, Any]:
    """A causal language model or a classifier of gibberish, and its tokenizer.

    Raises:
        ModelError: there is no such model, or it is neither.
    """
    if is_classifier(name):
        return load_classifier(name)
    model, tokenizer = load_model(name), load_tokenizer(name)
    check_language_model(model, tokenizer)
    return model, tokenizer


def judge_digest(name: str) -> tuple[str, str]:
    """The fingerprints of a judge and of its tokenizer.

    Raises:
        ModelError: as ``load_judge``.
    """
    with quiet_transformers():
        model, tokenizer = load_judge(name)
    return fingerprint(model), tokenizer_digest(tokenizer)


def is_classifier(name: str | Path) -> bool:
    """Whether a model that can be loaded is a sequence classifier."""
    named = getattr(load_config(name), "architectures", None) or [""]
    return str(named[0]).endswith("ForSequenceClassification")


def load_classifier(classifier: str | Path) -> tuple[Any, Any]:
    """The classifier and its tokenizer.

    Raises:
        ModelError: there is no such model, it is not a classifier, or none of its classes is ``clean``.
    """
    model, tokenizer = cast(Any, load_model(classifier)), load_tokenizer(classifier)
    names = _classes(model)
    if not type(model).__name__.endswith("ForSequenceClassification") or CLEAN not in names:
        found = ", ".join(names) or "none"
        raise ModelError(
            f"{classifier} cannot judge fluency: a sequence classifier with a class {CLEAN!r} is needed, such as "
            f"{GIBBERISH_DETECTOR}; this is a {type(model).__name__} with the classes {found}"
        )
    return model, tokenizer


def losses_under(base: nn.Module, tokenizer: Any, texts: Sequence[str], *, batch_size: int = 32) -> list[float | None]:
    """The average loss of each text under a base model, in nats; None for an empty one.

    A text follows the beginning token (or the end token) alone, without its question.

    Raises:
        ModelError: the tokenizer has neither token.
    """
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise ModelError("the base model's tokenizer has no token after which a text can begin; set its bos_token")
    most = min(_MAX_LENGTH, window_of(base) or _MAX_LENGTH) - 1
    encoded = [tokenized(tokenizer, text, add_special_tokens=False)["input_ids"][:most] for text in texts]
    found: dict[int, float | None] = dict.fromkeys(range(len(texts)))
    rows = {index: [start, *ids] for index, ids in enumerate(encoded) if ids}
    with observing(base):
        for indices, ids in _batches(rows, batch_size, device_of(base)):
            logits = base(input_ids=ids, use_cache=False).logits[:, :-1].float()
            losses = nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").mean(dim=1)
            found |= zip(indices, losses.tolist(), strict=True)
    return list(found.values())


def _batches(
    rows: Mapping[int, list[int]], batch_size: int, device: torch.device
) -> Iterator[tuple[list[int], Int[Tensor, "rows length"]]]:
    """Rows of equal length with their indices."""
    order = list(rows)
    for group in equal_lengths([len(ids) for ids in rows.values()], batch_size):
        indices = [order[place] for place in group]
        yield indices, torch.tensor([rows[index] for index in indices], device=device)


def _classes(model: Any) -> dict[str, int]:
    return {str(name).lower(): int(index) for index, name in (getattr(model.config, "id2label", None) or {}).items()}
