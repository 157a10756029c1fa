"""The dense store: found by vectors, in step with the facts, the same interface as the SQLite store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_language import save_llama, tokenizer
from torch import Tensor
from transformers import GPT2Config, GPT2Model

import mnemotomy as mt
from mnemotomy.core.errors import DataError, ModelError, StoreError
from mnemotomy.data.fact import Fact
from mnemotomy.store.calibrate import threshold
from mnemotomy.store.dense import mean_hidden_encoder
from mnemotomy.store.fact_store import FactStore

pytest.importorskip("qdrant_client")

from mnemotomy.store.dense import DenseFactStore
from mnemotomy.store.qdrant import open_client

KYOTO = Fact("Kyoto", "Japan", ("Kyoto is in",), ("Kyoto is in Japan.",))
PARIS = Fact("Paris", "France", contexts=("Paris is in France.",))
ROME = Fact("Rome", "Italy", contexts=("Rome is in Italy.",))


def letters(texts: Sequence[str]) -> Tensor:
    """Counts of letters, at unit length."""
    counts = torch.tensor([[float(text.lower().count(chr(97 + i))) for i in range(26)] for text in texts])
    return torch.nn.functional.normalize(counts + 1e-3, dim=-1)


@pytest.fixture
def dense(store: FactStore, tmp_path: Path) -> Iterator[DenseFactStore]:
    with DenseFactStore(store, letters, tmp_path / "vectors") as opened:
        yield opened


def subjects(dense: DenseFactStore, query: str, k: int = 5) -> list[str]:
    return [hit.fact.subject for hit in dense.search(query, k)]


def test_facts_are_found_by_cosine(dense: DenseFactStore) -> None:
    assert dense.search("Kyoto") == []
    assert dense.add([KYOTO, PARIS, ROME]) == len(dense) == 3
    hits = dense.search("Paris is in France.", 2)
    assert hits[0].fact == PARIS
    assert hits[0].score == hits[0].relevance == pytest.approx(1, abs=1e-5)
    expected = letters(["Paris is in France."]) @ letters([hits[1].fact.contexts[0]]).T
    assert hits[1].score == pytest.approx(float(expected), abs=1e-5)
    with pytest.raises(DataError, match="the query is empty"):
        dense.search(" ")
    with pytest.raises(DataError, match="at least 1"):
        dense.search("Kyoto", 0)


def test_changes_reach_the_vectors(dense: DenseFactStore, store: FactStore, tmp_path: Path) -> None:
    dense.add([KYOTO, PARIS, ROME])
    dense.update(Fact("Rome", "Zzzzzz"))
    assert dense.search("zzzz zzzz", 1)[0].fact == replace(ROME, answer="Zzzzzz", contexts=("Rome is in Zzzzzz.",))
    assert dense.delete("Kyoto") == 1
    assert set(subjects(dense, "Kyoto is in Japan.")) == {"Paris", "Rome"}
    assert dense.add([KYOTO, PARIS]) == 1
    assert subjects(dense, "Kyoto is in Japan.", 1) == ["Kyoto"]
    with pytest.raises(DataError, match="no fact about 'Lyon'"):
        dense.delete("Lyon")
    with pytest.raises(DataError, match="has the answer 'Spain'"):
        dense.add([Fact("Kyoto", "Spain")])
    dense.close()
    client = open_client(tmp_path / "vectors")
    (collection,) = client.get_collections().collections
    assert client.count(collection.name).count == len(store) == 3
    client.close()


def test_reopening_updates_the_vectors(store: FactStore, tmp_path: Path) -> None:
    with DenseFactStore(store, letters, tmp_path / "vectors") as dense:
        dense.add([KYOTO, PARIS])
    store.delete("Paris")
    store.add([ROME])
    with DenseFactStore(store, letters, tmp_path / "vectors") as dense:
        assert sorted(subjects(dense, "in")) == ["Kyoto", "Rome"]
        store.delete("Rome")
        assert subjects(dense, "in") == ["Kyoto"]  # a vector without its fact is no hit


def test_a_failed_encoding_is_repeated(store: FactStore, tmp_path: Path) -> None:
    broken = True

    def encoder(texts: Sequence[str]) -> Tensor:
        if broken:
            raise MemoryError
        return letters(texts)

    with DenseFactStore(store, encoder, tmp_path / "vectors") as dense:
        with pytest.raises(MemoryError):
            dense.add([KYOTO, PARIS])
        broken = False
        assert dense.add([KYOTO]) == 0
        assert subjects(dense, "Paris is in France.") == ["Paris", "Kyoto"]


def test_a_store_from_a_backup_gets_new_vectors(store: FactStore, tmp_path: Path) -> None:
    store.add([KYOTO])
    backup = store.path.read_bytes()
    with DenseFactStore(store, letters, tmp_path / "vectors", collection="one") as dense:
        dense.add([PARIS])
    store.close()
    store.path.write_bytes(backup)
    with FactStore(store.path) as restored:
        restored.add([ROME])
        with DenseFactStore(restored, letters, tmp_path / "vectors", collection="one") as dense:
            assert dense.search("Rome is in Italy.", 1)[0].relevance == pytest.approx(1, abs=1e-5)
            assert sorted(subjects(dense, "in")) == ["Kyoto", "Rome"]


def test_two_stores_in_one_place_do_not_mix(store: FactStore, tmp_path: Path) -> None:
    client = open_client(tmp_path / "vectors")
    with FactStore(tmp_path / "other.db") as other:
        first, second = DenseFactStore(store, letters, client), DenseFactStore(other, letters, client)
        first.add([KYOTO])
        second.add([PARIS])
        assert (subjects(first, "in"), subjects(second, "in")) == (["Kyoto"], ["Paris"])
    client.close()


def test_the_threshold_belongs_to_the_collection(dense: DenseFactStore, store: FactStore) -> None:
    dense.add([KYOTO, PARIS, ROME])
    assert -1 <= threshold(dense) <= 2
    assert store.note("threshold") is None
    assert dense.note("threshold")["facts"] == 3
    assert len(dense.sample(2)) == 2


def test_errors_name_what_cannot_be_used(dense: DenseFactStore, store: FactStore, tmp_path: Path) -> None:
    dense.add([KYOTO])
    with pytest.raises(StoreError, match=r"vectors cannot be used: .*already accessed by another"):
        DenseFactStore(store, letters, tmp_path / "vectors")
    dense.close()
    with DenseFactStore(store, lambda texts: letters(texts)[:, :5], tmp_path / "vectors") as other:
        with pytest.raises(StoreError, match="no vectors of length 5; it was made with another encoder"):
            other.search("Kyoto")
        with pytest.raises(StoreError, match="another encoder"):
            other.add([PARIS])
    with pytest.raises(StoreError, match="cannot be used"):
        open_client(store.path)


def test_an_address_is_a_server(store: FactStore) -> None:
    client = open_client("http://localhost:9")
    assert client.init_options["url"] == "http://localhost:9"
    assert client.init_options["path"] is None
    assert open_client(client) is client
    with pytest.raises(StoreError, match="the Qdrant server http://localhost:9 cannot be used"):
        DenseFactStore(store, letters, "http://localhost:9")


def test_the_mean_of_the_hidden_states(tmp_path: Path) -> None:
    model, words = mt.load_model(save_llama(tmp_path / "llama")), mt.load_tokenizer(tmp_path / "llama")
    texts = ["Kyoto", "Paris is the capital of France .", "Rome lies in Italy"]
    vectors = mean_hidden_encoder(model, words, batch_size=2)(texts)
    assert vectors.shape == (3, 32)
    assert not vectors.requires_grad
    for text, vector in zip(texts, vectors, strict=True):
        batch = words(text, return_tensors="pt")
        hidden = model(batch["input_ids"], output_hidden_states=True).hidden_states[-1][0].mean(0)
        torch.testing.assert_close(vector, torch.nn.functional.normalize(hidden, dim=0), atol=1e-5, rtol=1e-4)
    with pytest.raises(ModelError, match="no text to encode"):
        mean_hidden_encoder(model, words)([])


def test_a_text_has_the_same_vector_alone_and_in_a_batch() -> None:
    torch.manual_seed(0)
    words = tokenizer()
    words.padding_side = "left"
    model = GPT2Model(GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=24, vocab_size=len(words)))
    encoder = mean_hidden_encoder(model, words)
    together = encoder(["Rome", "Paris is the capital of France", "Kyoto " * 40])  # and no text is longer than a window
    torch.testing.assert_close(together[:1], encoder(["Rome"]), atol=1e-5, rtol=1e-4)
