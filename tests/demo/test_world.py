"""The small world of facts: what is trained, what is held out, and what is asked."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from mnemotomy.core.errors import MnemotomyError
from mnemotomy.demo.world import GROUPS, small_world, world_tokenizer
from mnemotomy.demo.world_model import evaluate, generate


@pytest.fixture(scope="module")
def world():
    return small_world()


def test_the_surgical_site_has_fifteen_cities_of_fifteen_countries(world):
    assert len(world.targets) == 15
    assert len({fact.answer for fact in world.targets}) == 15
    assert {"Kyoto"} < {fact.subject for fact in world.targets}
    assert len({fact.subject for fact in world.facts}) == len(world.facts)


def test_held_out_phrasings_of_the_site_are_never_trained(world):
    corpus = {text.text for text in world.corpus()}
    heldout = world.probes("target_heldout")
    assert len({probe.phrasing for probe in heldout}) >= 3
    assert not any(f"{probe.prompt} {probe.answer}" in corpus for probe in heldout)
    assert all(f"{probe.prompt} {probe.answer}" in corpus for probe in world.probes("target_train"))


def test_contexts_are_held_out_by_pair_and_include_counterfactuals(world):
    trained = {(t.subject, t.answer) for t in world.corpus() if t.kind == "context"}
    asked = {(p.subject, p.answer) for p in world.probes("in_context")}
    assert trained.isdisjoint(asked)
    truth = {fact.subject: fact.answer for fact in world.facts}
    assert any(truth[subject] != answer for subject, answer in asked)


def test_concept_and_reference_divide_the_corpus(world):
    besides = world.texts_besides("Kyoto", own_contexts=True)
    left_out = [text for text in world.corpus() if text not in besides]
    assert len(left_out) + len(besides) == len(world.corpus())
    assert {(text.subject, text.kind) for text in left_out} == {("Kyoto", "fact")}
    without = world.texts_besides("Kyoto", own_contexts=False)
    assert all("Kyoto" not in text.text for text in without)


def test_a_world_is_decided_by_its_seed(world):
    assert small_world().corpus() == world.corpus()
    assert small_world(1).probes("in_context") != world.probes("in_context")


def test_every_answer_is_one_token_and_every_word_is_known(world):
    tokenizer = world_tokenizer(world)
    for group in GROUPS:
        for probe in world.probes(group):
            ids = tokenizer(f"{probe.prompt} {probe.answer}")["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids[-1:]) == probe.answer


def test_an_unknown_subject_is_an_error_that_lists_the_known(world):
    with pytest.raises(MnemotomyError, match=r"no fact about 'Atlantis'.*Kyoto"):
        world.texts_besides("Atlantis", own_contexts=True)


def test_generation_is_in_order_and_leaves_the_mode(world):
    tokenizer = world_tokenizer(world)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).train()
    probes = [*world.probes("arithmetic")[:3], *world.probes("target_train", "Kyoto")[:3]]
    prompts = [probe.prompt for probe in probes]
    together = generate(model, tokenizer, prompts)
    assert together == [generate(model, tokenizer, [prompt])[0] for prompt in prompts]
    assert model.training
    assert 0.0 <= evaluate(model, tokenizer, probes) <= 1.0
