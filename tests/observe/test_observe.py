"""Greedy and sampled texts; prompts and their answers as tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import tiny_llama
from tiny_language import tokenizer as tiny_tokenizer
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from mnemotomy.core.errors import DataError
from mnemotomy.observe.generation import continue_greedily, continue_sampled
from mnemotomy.text.batches import equal_lengths
from mnemotomy.text.tokenizing import encode_prompt, encode_with_answer

PROMPTS = ["Kyoto lies in", "Paris", "In which country is Rome?", "Rome lies in", "the capital of", "Kyoto"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture
def model(tokenizer: Any) -> Any:
    return tiny_llama(vocab_size=len(tokenizer), max_position_embeddings=128)


def gpt_like(merges: list[list[str]]) -> Any:
    """Byte-level BPE that cuts digits off before it merges, as Qwen's does."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
    backend = Tokenizer(models.BPE(vocabulary, [tuple(pair) for pair in merges]))
    split = pre_tokenizers.Split(Regex(r" ?\p{L}+|\p{N}|\s+|[^\s\p{L}\p{N}]+"), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def test_prompts_lose_the_end_that_the_tokenizer_appends(tokenizer: Any):
    ids = tokenizer("Kyoto lies")["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id
    assert encode_prompt(tokenizer, "Kyoto lies") == ids[:-1]


def test_an_answer_that_merges_with_its_prompt_is_refused(tokenizer: Any):
    whole, start = encode_with_answer(tokenizer, "Kyoto ", "Japan", separator="")
    assert tokenizer.decode(whole[start:]) == "Japan"
    with pytest.raises(DataError, match="change when"):
        encode_with_answer(tokenizer, "in Jap", "an", separator="")


@pytest.mark.parametrize(
    ("separator", "answer", "read", "first"),
    [
        (" ", "3", "1 + 2 = ", "3"),  # a space before a digit is a token of its own
        (" ", "Japan", "1 + 2 =", " Japan"),  # and before a word a part of its token
        ("\nAnswer: ", "Japan", "1 + 2 =\nAnswer:", " Japan"),
        ("\nAnswer: ", "3", "1 + 2 =\nAnswer: ", "3"),
        ("", "Japan", "1 + 2 =", "Japan"),
    ],
)
def test_an_answer_begins_behind_its_separator(separator: str, answer: str, read: str, first: str):
    words = gpt_like([["Ġ", "J"], ["ĠJ", "a"], ["ĠJa", "p"], ["ĠJap", "a"], ["ĠJapa", "n"]])
    whole, start = encode_with_answer(words, "1 + 2 =", answer, separator)
    assert words.decode(whole[:start]) == read
    assert words.decode(whole[start:]).startswith(first)
    assert words.decode(whole) == f"1 + 2 ={separator}{answer}"


def test_what_a_folder_says_of_generation_has_no_say(tokenizer: Any):
    torch.manual_seed(0)
    size = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    windowed = MistralForCausalLM(MistralConfig(**size, num_attention_heads=4, num_key_value_heads=2, sliding_window=8))
    prompts = [tokenizer("Kyoto lies in", add_special_tokens=False)["input_ids"]] * 4
    found = []
    for said in ({}, {"encoder_repetition_penalty": 5.0, "suppress_tokens": [5, 6, 7], "min_p": 0.99}):
        windowed.generation_config.update(do_sample=True, **said)
        own = windowed.generation_config
        torch.manual_seed(0)
        found.append(
            (
                continue_greedily(windowed, tokenizer, ["Kyoto lies in"], 6),
                continue_sampled(windowed, tokenizer, prompts, 6),
            )
        )
        assert windowed.generation_config is own
    assert found[0] == found[1]
    assert len(set(found[0][1])) > 1


def test_greedy_texts_are_those_of_single_steps(model: Any, tokenizer: Any):
    expected = []
    for prompt in PROMPTS:
        ids, written = encode_prompt(tokenizer, prompt), []
        for _ in range(5):
            with torch.no_grad():
                written.append(int(model(torch.tensor([ids + written])).logits[0, -1].argmax()))
            if written[-1] == tokenizer.eos_token_id:
                break
        expected.append(tokenizer.decode(written, skip_special_tokens=True))
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.do_sample = True
    assert continue_greedily(model, tokenizer, PROMPTS, 5, batch_size=4) == expected
    assert any(expected)


def test_generation_needs_a_padding_token(model: Any):
    bare = tiny_tokenizer()
    bare.pad_token = None
    with pytest.raises(DataError, match="pad_token"):
        continue_greedily(model, bare, PROMPTS, 1)


def test_equal_lengths_keep_every_index_once():
    groups = list(equal_lengths([3, 1, 3, 3, 1, 2], 2))
    assert groups == [[1, 4], [5], [0, 2], [3]]
