"""A fact store searched by meaning: vectors in Qdrant beside the facts in SQLite.

SQLite is the source of truth. Each vector carries its fact's id and a short hash of its statement, and is updated
where they differ. A changed fact gets a new id; the hash detects a store restored from a backup, whose ids may stand
for other facts."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ModelError
from mnemotomy.core.modules import device_of, observing, window_of
from mnemotomy.core.progress import progress_bar
from mnemotomy.data.fact import Fact
from mnemotomy.store.fact_store import FactStore
from mnemotomy.store.qdrant import Vectors, open_client
from mnemotomy.store.retriever import Hit, check_query, statement

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

Encoder: TypeAlias = Callable[[Sequence[str]], Float[Tensor, "n d"]]


def mean_hidden_encoder(model: nn.Module, tokenizer: Any, *, batch_size: int = 32, max_length: int = 512) -> Encoder:
    """An encoder: the last hidden states, averaged over a text's tokens and normalised to unit length.

    Args:
        model: of transformers.
        tokenizer: with a padding token.
        batch_size: texts per forward pass.
        max_length: the most tokens of a text; the rest is cut off.
    """
    longest = min(max_length, window_of(model) or max_length)
    backbone = cast(Any, model).base_model if hasattr(model, "base_model") else model  # skips the head

    def encode(texts: Sequence[str]) -> Tensor:
        parts = [_encode(texts[start : start + batch_size]) for start in range(0, len(texts), batch_size)]
        if not parts:
            raise ModelError("there is no text to encode; give at least one")
        return torch.cat(parts)

    def _encode(texts: Sequence[str]) -> Tensor:
        # padded on the right, so that positions are the same alone and in a batch
        batch = tokenizer(
            list(texts), padding=True, padding_side="right", truncation=True, max_length=longest, return_tensors="pt"
        )
        mask = batch["attention_mask"].to(device_of(model))
        with observing(model):
            hidden = backbone(input_ids=batch["input_ids"].to(device_of(model)), attention_mask=mask).last_hidden_state
        kept = mask[..., None].bool()
        mean = hidden.float().masked_fill(~kept, 0).sum(1) / kept.sum(1).clamp(min=1)
        return nn.functional.normalize(mean, dim=-1).cpu()

    return encode


_BATCH = 256


class DenseFactStore:
    """A ``FactStore`` searched with an encoder; needs ``qdrant-client``.

    Args:
        store: contains the facts; stays open when this is closed.
        encoder: texts to vectors ``[n, d]``, such as ``mean_hidden_encoder``; always the same for a collection.
        location: a folder used by this process alone, the address of a Qdrant server, or a client.
        collection: name of the vectors' collection; by default unique to the store.

    Raises:
        StoreError: from any method, if Qdrant cannot be used.
    """

    def __init__(
        self,
        store: FactStore,
        encoder: Encoder,
        location: str | Path | QdrantClient,
        *,
        collection: str | None = None,
    ) -> None:
        self.store = store
        self._encoder = encoder
        name = collection or f"facts-{_identity(store)}"
        place = str(location) if isinstance(location, str | Path) else "given"
        self._vectors = Vectors(open_client(location), name, place)
        self._notes = f"dense {name} "
        self._behind = True
        self.sync()

    def sync(self) -> None:
        """Encode facts without a vector, and remove vectors without a fact."""
        present, last = dict(self._vectors.marks()), 0
        missing = []
        while page := self.store.after(last, _BATCH):
            missing += [number for number, fact in page if present.pop(number, None) != _mark(fact)]
            last = page[-1][0]
        self._remove(sorted(present))
        with progress_bar("encoding facts", len(missing)) as advance:
            for start in range(0, len(missing), _BATCH):
                facts = self.store.by_id(missing[start : start + _BATCH])
                self._encode(facts)
                advance(len(facts))
        self._behind = False

    def add(self, facts: Iterable[Fact]) -> int:
        """As ``FactStore.add``."""
        self._catch_up()
        last = self.store.last_id()
        added = self.store.add(facts)
        with self._in_step():
            while page := dict(self.store.after(last, _BATCH)):
                self._encode(page)
                last = max(page)
        return added

    def update(self, fact: Fact) -> Fact:
        """As ``FactStore.update``."""
        self._catch_up()
        before = self.store.ids_of(fact.subject, fact.relation)
        old = self.store.update(fact)
        with self._in_step():
            self._remove(before)
            self._encode(self.store.by_id(self.store.ids_of(fact.subject, fact.relation)))
        return old

    def delete(self, subject: str, relation: str | None = None) -> int:
        """As ``FactStore.delete``; Qdrant's files may keep a deleted vector, but no text, until it cleans up."""
        self._catch_up()
        before = self.store.ids_of(subject, relation)
        deleted = self.store.delete(subject, relation)
        with self._in_step():
            self._remove(before)
        return deleted

    def search(self, query: str, k: int = 5) -> list[Hit]:
        """The facts whose statements are nearest to the query; score and relevance are the cosine similarity.

        Raises:
            DataError: the query is empty, or ``k`` is below 1.
        """
        check_query(query, k)
        self._catch_up()
        found = self._vectors.search(self._encoder([query])[0], k)
        facts = self.store.by_id([number for number, _ in found])
        return [Hit(facts[number], cosine, cosine) for number, cosine in found if number in facts]

    def sample(self, number: int, seed: int = 0) -> list[Fact]:
        """As ``FactStore.sample``."""
        return self.store.sample(number, seed)

    def note(self, name: str) -> Any:
        """As ``FactStore.note``, for this collection."""
        return self.store.note(self._notes + name)

    def set_note(self, name: str, value: Any) -> None:
        """As ``FactStore.set_note``, for this collection."""
        self.store.set_note(self._notes + name, value)

    def __len__(self) -> int:
        return len(self.store)

    def close(self) -> None:
        """Release Qdrant's folder or connection; the ``FactStore`` stays open."""
        self._vectors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _catch_up(self) -> None:
        if self._behind:
            self.sync()

    @contextlib.contextmanager
    def _in_step(self) -> Iterator[None]:
        """Update the vectors after a write to the store; if that fails, the next call synchronises them."""
        self._behind = True
        yield
        self._behind = False

    def _encode(self, facts: dict[int, Fact]) -> None:
        if facts:
            vectors = self._encoder([statement(fact) for fact in facts.values()])
            self._vectors.put(list(facts), vectors, [_mark(fact) for fact in facts.values()])

    def _remove(self, numbers: Sequence[int]) -> None:
        for start in range(0, len(numbers), _BATCH):
            self._vectors.remove(numbers[start : start + _BATCH])


def _mark(fact: Fact) -> str:
    """Too short to reveal a deleted text, long enough to distinguish facts."""
    return hashlib.sha256(statement(fact).encode(errors="replace")).hexdigest()[:8]


def _identity(store: FactStore) -> str:
    """The store's unique name, so that stores on one server do not mix their ids."""
    if store.note("identity") is None:
        store.set_note("identity", uuid.uuid4().hex)
    return str(store.note("identity"))
