"""Fingerprints of models and tokenizers, by content."""

from __future__ import annotations

import hashlib
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import ModelError


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over the name, shape, dtype and bytes of every entry of the state dict.

    Two models share a fingerprint exactly when their weights and buffers are equal.
    """
    return fingerprint_of(digests(model))


def fingerprint_of(digests: dict[str, str]) -> str:
    """The fingerprint of a model from the digests of its state dict."""
    return hashlib.sha256(json.dumps(list(digests.items())).encode()).hexdigest()


def digests(model: nn.Module) -> dict[str, str]:
    """The digest of every entry of the state dict, hashed in parallel."""
    state = model.state_dict()
    with ThreadPoolExecutor(max_workers=max(1, torch.get_num_threads())) as pool:
        return dict(zip(state, pool.map(digest, state.values()), strict=True))


def digest(value: Any) -> str:
    """SHA-256 over the shape, dtype and bytes of one tensor, or over any other entry of a state dict."""
    if not isinstance(value, Tensor):
        return hashlib.sha256(pickle.dumps(value)).hexdigest()
    data = value.detach().cpu().contiguous().reshape(-1)
    content = hashlib.sha256(f"{tuple(value.shape)} {value.dtype} ".encode())
    if data.numel():
        content.update(data.view(torch.uint8).numpy().data)
    return content.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """A hash of a tokenizer's vocabulary, rules and template; tokenizers with equal hashes give equal tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = sorted(tokenizer.get_vocab().items()) if backend is None else json.loads(backend.to_str())
    if isinstance(rules, dict):  # left behind by the last call that padded or truncated
        rules |= {"padding": None, "truncation": None}
    special = [tokenizer.eos_token_id, tokenizer.bos_token_id, getattr(tokenizer, "chat_template", None)]
    return hashlib.sha256(json.dumps([rules, special], sort_keys=True).encode()).hexdigest()


def check_same_tokenizer(name: str, tokenizer: Any, other: str, others: Any) -> None:
    """Refuse models that split texts differently: their numbers cannot be compared.

    Raises:
        ModelError: the tokenizers differ; it says how.
    """
    if tokenizer_digest(tokenizer) == tokenizer_digest(others):
        return
    if tokenizer.get_vocab() != others.get_vocab():
        what = f"have different vocabularies, of {len(tokenizer)} and {len(others)} tokens"
    elif getattr(tokenizer, "chat_template", None) != getattr(others, "chat_template", None):
        what = "have different chat templates"
    else:
        what = "split texts differently"
    raise ModelError(f"the tokenizers of {name} and {other} {what}; compare models that share a tokenizer")
