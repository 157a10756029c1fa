"""The closed-form edit that training may start from: at every token, or at the facts' subjects."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny_llama
from tiny_metabolism import FACTS, FORMAT, RETAIN, run, tokenizer_of_words

from mnemotomy.core.errors import MnemotomyError
from mnemotomy.data.fact import Fact
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.cut import RelativeCut
from mnemotomy.engram.filters import Soft
from mnemotomy.engram.strength import erase
from mnemotomy.metabolism.metabolize import metabolize
from mnemotomy.metabolism.rlcp import RLCP, EngramStart, Training
from mnemotomy.metabolism.streams import Sequences, Streams, encode_texts


@pytest.fixture
def tokenizer():
    return tokenizer_of_words()


def test_an_engram_start_may_weigh_directions_and_keep_other_outputs(tokenizer):
    start = EngramStart(threshold=None, strength=0.5, outputs=True)
    expected, found = tiny_llama(), tiny_llama()
    training = Training(epochs=1, batch_size=3, learning_rate=1e-30)
    run(tokenizer, RLCP.from_engram(layer=1, engram=start, training=training), found, retain=RETAIN)
    streams = Streams(FACTS, tokenizer, format=FORMAT, counterfactuals=0.0, seed=0)

    def batch(texts: Sequences) -> list[dict[str, torch.Tensor]]:
        return [{"input_ids": texts.input_ids, "attention_mask": texts.attention_mask}]

    asked, kept = streams.without_context(range(len(streams.examples))), encode_texts(RETAIN, tokenizer)
    concepts = {"facts": batch(asked), "retained": batch(kept)}
    moments = collect(expected, concepts, options=CollectOptions(dtype=torch.float64))
    erase(Atlas(expected, moments), "facts", 0.5, Soft(), outputs=True).apply_(expected)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, atol=1e-6, rtol=1e-5)


def test_an_edit_at_the_subjects_reads_their_last_tokens_and_weighs_neighbours_like_the_rest(tokenizer):
    start = EngramStart.at_subjects(threshold=None, strength=0.5, blocks=(1, 1))
    expected, found = tiny_llama(), tiny_llama()
    training = Training(epochs=1, batch_size=3, learning_rate=1e-30)
    sky = Fact("sky", "-", ("the sky is",))
    how = RLCP.from_subjects(layer=1, engram=start, training=training)
    run(tokenizer, how, found, retain=RETAIN, neighbours=[sky])

    def batch(texts: Sequences, marked: slice | None) -> dict[str, torch.Tensor]:
        """``Kyoto is in Japan`` begins with its subject; ``the sky is`` has it in the second place."""
        labels = torch.full_like(texts.input_ids, -100)
        labels[:, marked or slice(None)] = 1
        labels[texts.attention_mask == 0] = -100
        return {"input_ids": texts.input_ids, "attention_mask": texts.attention_mask, "labels": labels}

    streams = Streams(FACTS, tokenizer, format=FORMAT, counterfactuals=0.0, seed=0)
    asked, kept = streams.without_context(range(6)), encode_texts(RETAIN, tokenizer)
    rest = [batch(asked, slice(1, None)), batch(kept, None)]
    weight = sum(int((one["labels"] == 1).sum()) for one in rest)
    near = batch(encode_texts(["the sky is -"], tokenizer), slice(1, 2))
    site = "model.layers.0.mlp.down_proj"
    concepts = {"facts": [batch(asked, slice(1))], "rest": rest + [near] * weight}
    moments = collect(expected, concepts, sites=[site], options=CollectOptions(dtype=torch.float64))
    erase(Atlas(expected, moments, cut=RelativeCut(start.cut)), "facts", 0.5, Soft()).apply_(expected)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"facts": [*FACTS[:2], Fact("Rome", "Italy", ("the sky is",), ("Rome is in Italy",))]}, "name the subject"),
        ({"how": {"engram": EngramStart.at_subjects(sites=("q_proj",), blocks=(2, 1))}}, "give the lower one first"),
        (
            {"neighbours": [Fact("sky", "-", ("the sky is",)), Fact("Rome", "Italy")]},
            "the neighbour 'Rome': 'prompts' is empty",
        ),
        ({"how": {"engram": EngramStart()}, "neighbours": [Fact("sky", "-", ("the sky is",))]}, "edit at the subjects"),
    ],
)
def test_an_edit_at_the_subjects_that_cannot_be_made_is_refused(tokenizer, changes: dict, message: str):
    how = RLCP.from_subjects(layer=1, training=Training(epochs=1), **changes.pop("how", {}))
    facts = changes.pop("facts", FACTS)
    with pytest.raises(MnemotomyError, match=message):
        metabolize(tiny_llama(), tokenizer, facts, how, format=FORMAT, progress=False, retain=RETAIN, **changes)


@pytest.mark.parametrize("progress", [True, False])
def test_every_stage_shows_how_far_it_is(tokenizer, progress: bool, monkeypatch, capsys):
    monkeypatch.setattr("mnemotomy.core.progress._FIRST", 0.0)
    monkeypatch.setattr("mnemotomy.core.progress._EVERY", 0.0)
    how = RLCP.from_engram(layer=1, training=Training(epochs=2, batch_size=3), lambda_kl=1.0)
    metabolize(tiny_llama(), tokenizer, FACTS, how, format=FORMAT, progress=progress, retain=RETAIN)
    lines = capsys.readouterr().err.splitlines()
    last = {name: count for name, _, count in (line.partition(": ") for line in lines)}
    if not progress:
        assert not last
        return
    assert list(last) == ["reference", "collecting", "computing the edit", "metabolism"]
    for count in last.values():
        done, total = count.split(",")[0].split("/")
        assert done == total
    texts = len(Streams(FACTS, tokenizer, format=FORMAT, counterfactuals=0.0, seed=0).examples) + len(RETAIN)
    assert last["reference"].startswith(f"{texts}/{texts}")
