"""Prompts in one forward pass, against each prompt forwarded alone; where a word stands."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import same_state, state_of, tiny_llama
from tiny_language import tokenizer as tiny_tokenizer
from torch import nn

from mnemotomy.core.errors import DataError, ModelError
from mnemotomy.observe.generation import continue_greedily
from mnemotomy.text.tokenizing import encode_prompt
from mnemotomy_bench.metabolism.prompts import PromptObservations, eager_attention, observe_prompts

PROMPTS = ["Kyoto lies in", "Paris", "In which country is Rome?", "Rome lies in", "the capital of", "Kyoto"]


ANSWERS = ["Japan", "France", "Italy", "Italy", "France", "is in Japan"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture
def model(tokenizer: Any) -> Any:
    return tiny_llama(vocab_size=len(tokenizer), max_position_embeddings=128)


def alone(model: Any, tokenizer: Any, prompt: str) -> Any:
    with torch.no_grad(), eager_attention(model):
        return model(
            input_ids=torch.tensor([encode_prompt(tokenizer, prompt)]),
            output_hidden_states=True,
            output_attentions=True,
        )


@pytest.mark.parametrize(("end", "separator"), [("", " "), (" ", "")])
def test_each_prompt_shows_what_it_shows_alone(model: Any, tokenizer: Any, end: str, separator: str):
    prompts = [prompt + end for prompt in PROMPTS]
    found = observe_prompts(
        model,
        tokenizer,
        prompts,
        answers=ANSWERS,
        separator=separator,
        hidden=True,
        attention_layers=(2, 1),
        batch_size=2,
    )
    assert found.hidden.shape == (3, len(PROMPTS), 16)
    assert sorted(found.attention) == [1, 2]
    for index, (prompt, answer) in enumerate(zip(prompts, ANSWERS, strict=True)):
        output = alone(model, tokenizer, prompt + separator)  # this tokenizer splits a space before a word off
        log_probabilities = output.logits[0, -1].log_softmax(-1)
        target = tokenizer.convert_tokens_to_ids(answer.split()[0])
        assert found.next_token_ids[index] == log_probabilities.argmax()
        assert found.correct[index] == (log_probabilities.argmax() == target)
        torch.testing.assert_close(found.answer_log_probability[index], log_probabilities[target])
        for layer, states in enumerate(output.hidden_states):
            torch.testing.assert_close(found.hidden[layer, index], states[0, -1])
        for layer in (1, 2):
            torch.testing.assert_close(found.attention[layer][index], output.attentions[layer - 1][0, :, -1])
            torch.testing.assert_close(found.attention[layer][index].sum(-1), torch.ones(2))


def test_the_models_own_words_are_correct(model: Any, tokenizer: Any):
    """An untrained model answers in bytes; prompts whose byte is a letter have an answer to give."""
    guesses = tokenizer.convert_ids_to_tokens(observe_prompts(model, tokenizer, PROMPTS).next_token_ids)
    answers = [guess if guess.isascii() and guess.isalpha() else "Q" for guess in guesses]
    found = observe_prompts(model, tokenizer, PROMPTS, answers=answers, separator="")
    assert found.correct.tolist() == [answer != "Q" for answer in answers]
    assert 0.0 < found.accuracy < 1.0


def test_what_is_not_asked_for_is_absent(model: Any, tokenizer: Any):
    found = observe_prompts(model, tokenizer, PROMPTS)
    assert found.answer_log_probability is found.correct is found.hidden is None
    assert found.attention == {}
    with pytest.raises(DataError, match="needs answers"):
        found.accuracy  # noqa: B018


def test_accuracy_counts_the_right_prompts():
    found = PromptObservations(torch.zeros(4), correct=torch.tensor([True, False, True, True]))
    assert found.accuracy == 0.75


def test_observing_leaves_the_model_as_it_was(model: Any, tokenizer: Any):
    model.train()
    model.model.norm.eval()
    before, implementation = state_of(model), model.config._attn_implementation
    assert implementation != "eager"
    observe_prompts(model, tokenizer, PROMPTS, hidden=True, attention_layers=(1,))
    continue_greedily(model, tokenizer, PROMPTS[:2], 2)
    assert model.training
    assert not model.model.norm.training
    assert same_state(model, before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.config._attn_implementation == implementation
    assert model.model.layers[0].self_attn.config._attn_implementation == implementation


def test_attention_is_restored_after_an_error(model: Any, tokenizer: Any):
    before = model.config._attn_implementation
    with pytest.raises(DataError, match="layer 3 was asked for"):
        observe_prompts(model, tokenizer, PROMPTS, attention_layers=(3,))
    assert model.config._attn_implementation == before


def test_observations_of_half_precision_are_float32(model: Any, tokenizer: Any):
    found = observe_prompts(model.bfloat16(), tokenizer, PROMPTS, answers=ANSWERS, hidden=True, attention_layers=(1,))
    assert found.hidden.dtype == found.answer_log_probability.dtype == found.attention[1][0].dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": []}, "no prompts"),
        ({"answers": ["Japan"]}, "6 prompts came with 1 answers"),
        ({"answers": [""] * 6, "separator": ""}, "has no tokens"),
        ({"attention_layers": (0,)}, "count from 1"),
    ],
)
def test_what_cannot_be_observed_is_refused(model: Any, tokenizer: Any, changes: dict, message: str):
    arguments = {"prompts": PROMPTS} | changes
    with pytest.raises(DataError, match=message):
        observe_prompts(model, tokenizer, **arguments)


def test_attention_needs_a_transformers_model():
    with pytest.raises(ModelError, match="not a transformers model"), eager_attention(nn.Linear(2, 2)):
        pass
