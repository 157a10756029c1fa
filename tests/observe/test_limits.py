"""What is too short or too long to be observed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_tofu import observed
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from mnemotomy.core.errors import DataError, ModelError
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.observe.answers import observe_answers
from mnemotomy.observe.generation import continue_greedily
from mnemotomy.observe.questions import Asking
from mnemotomy.observe.shared_rows import supports_dropping_rows
from mnemotomy.observe.splits import observe_splits
from mnemotomy.text.records import TextExample

QUICK = Asking(max_new_tokens=6)


def test_an_answer_without_a_token_is_refused(pair: Path):
    with pytest.raises(DataError, match="has no tokens"):
        observe_splits(observed(pair), {"forget": [TextExample.of_question("Rome ?", " \u2003 ")]}, QUICK)


def test_texts_beyond_the_window(pair: Path, tmp_path: Path):
    words = load_tokenizer(pair / "full")
    torch.manual_seed(0)
    config = GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=len(words), n_positions=12, eos_token_id=None)
    model = GPT2LMHeadModel(config).eval()
    assert continue_greedily(model, words, ["Paris is"], 200)[0]
    with pytest.raises(ModelError, match="window of 12 tokens leaves no room"):
        continue_greedily(model, words, ["Paris " * 12], 200)
    prompts = ["Paris", "Paris is Rome"]  # the longer one must not take the other's room where they share a batch
    alone = [continue_greedily(model, words, [prompt], 9)[0] for prompt in prompts]
    assert continue_greedily(model, words, prompts, 9) == alone
    with pytest.raises(ModelError, match="longer than the 12 tokens that GPT2LMHeadModel reads"):
        observe_answers(model, words, ["Paris " * 9], ["Rome " * 9])


def test_rows_that_end_are_taken_out(pair: Path):
    assert supports_dropping_rows(load_model(pair / "full"))
    sliding = LlamaForCausalLM(LlamaConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1, vocab_size=8))
    sliding.config.is_encoder_decoder = True
    assert not supports_dropping_rows(sliding)
