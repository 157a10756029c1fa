"""From facts to the batches of both streams: turns, counterfactuals, labels, and refused facts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import tiny_llama
from tiny_metabolism import FACTS, FORMAT, WORDS, config, run, tokenizer_of_words

from mnemotomy.core.errors import DataError, ModelError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.data.fact import Fact
from mnemotomy.metabolism.metabolize import metabolize
from mnemotomy.metabolism.rlcp import RLCP, Training
from mnemotomy.metabolism.streams import Streams, encode_answers


@pytest.fixture
def tokenizer():
    return tokenizer_of_words()


def test_a_text_beyond_the_window_is_refused_or_cut(tokenizer):
    model = tiny_llama(max_position_embeddings=16)
    lengths: list[int] = []
    seen = model.register_forward_pre_hook(
        lambda _, __, given: lengths.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    run(tokenizer, RLCP.stable(layer=1, training=Training(epochs=1)), model, retain=["the sky is blue " * 9])
    seen.remove()
    assert max(lengths) == 16
    long = [replace(FACTS[0], contexts=("Kyoto is in Japan " * 5,)), *FACTS[1:]]
    with pytest.raises(ModelError, match="longer than the 16 tokens"):
        metabolize(model, tokenizer, long, config(), format=FORMAT, progress=False)


def test_a_context_that_cannot_be_restated_is_refused_first(tokenizer):
    with pytest.raises(DataError, match="within another word"):
        Streams(
            [replace(FACTS[0], contexts=("Kyoto is Japanese",)), *FACTS[1:]], tokenizer,
            format=FORMAT, counterfactuals=0.5, seed=0,
        )  # fmt: skip


def test_streams_contain_every_prompt_and_take_turns(tokenizer):
    streams = Streams(FACTS, tokenizer, format=FORMAT, counterfactuals=0.0, seed=0)
    for by_slot in (False, True):
        seen = [index for epoch in range(2) for batch in streams.order(epoch, 2, by_slot=by_slot) for index in batch]
        assert sorted(seen) == list(range(6))
    slots = streams.labels([index for batch in streams.order(0, 2, by_slot=True) for index in batch])[1]
    assert len(set(slots.tolist())) == 1
    more = replace(FACTS[0], prompts=(*FACTS[0].prompts, "Kyoto is", "the sky Kyoto is in"))
    unequal = Streams([more, *FACTS[1:]], tokenizer, format=FORMAT, counterfactuals=0.0, seed=0)
    for epoch in range(4):
        first, *rest = unequal.labels(
            sorted(index for batch in unequal.order(epoch, 3, by_slot=True) for index in batch)
        )[1].tolist()
        assert rest == [first % 2] * 2


def test_counterfactual_contexts_carry_another_answer(tokenizer):
    streams = Streams(FACTS, tokenizer, format=FORMAT, counterfactuals=1.0, seed=0)
    told = streams.with_context([0, 2, 4], step=3)
    for row, fact in enumerate(FACTS):
        answer = told.labels[row][told.labels[row] >= 0]
        assert answer.tolist() != tokenizer(fact.answer)["input_ids"]
        assert int(answer) in told.input_ids[row].tolist()[: int(told.last[row])]


def test_answers_are_the_labels_of_the_positions_before_them(tokenizer):
    found = encode_answers([("Kyoto is in", "Japan"), ("Rome lies in the", "sky blue")], tokenizer, " ")
    assert found.last.tolist() == [2, 3]
    assert found.labels[0].tolist() == [-100, -100, WORDS.index("Japan"), -100, -100, -100]
    assert found.labels[1].tolist()[3:5] == [WORDS.index("sky"), WORDS.index("blue")]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ((), "no facts"),
        ((Fact("Kyoto", "Japan", ("Kyoto is in",), ("Kyoto lies in Italy",)),), "not in its context"),
        ((FACTS[0], replace(FACTS[0], answer="Italy", contexts=("Kyoto is in Italy",))), "keep one"),
        ((Fact("Kyoto", "Japan", ("  ",), ("Kyoto is in Japan",)),), "'prompts' contains an empty text"),
        ((Fact("Kyoto", "Japan", (), ("Kyoto is in Japan",)),), "'prompts' is empty"),
    ],
)
def test_facts_that_cannot_be_used(tokenizer, facts, message: str):
    model = tiny_llama()
    before = fingerprint(model)
    with pytest.raises(DataError, match=message):
        metabolize(model, tokenizer, facts, config(), progress=False)
    assert fingerprint(model) == before
