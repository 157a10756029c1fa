"""A tokenizer that cannot read a text says so in one line."""

from __future__ import annotations

import pytest
from tiny_language import tokenizer as byte_level
from tokenizers import Tokenizer
from tokenizers.models import Unigram, WordLevel, WordPiece
from transformers import PreTrainedTokenizerFast

from mnemotomy.core.errors import DataError
from mnemotomy.text.encoding import encode_answer
from mnemotomy.text.template import Template
from mnemotomy.text.tokenizing import encode_prompt, padding_token, tokenized


def tokenizer_of(model) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), eos_token="<eos>")


@pytest.mark.parametrize("model", [WordLevel({"a": 0}), WordPiece({"a": 0}), Unigram([("a", 0.0)])])
def test_a_word_that_no_token_stands_for_is_named(model):
    tokenizer = tokenizer_of(model)
    assert tokenized(tokenizer, "a", add_special_tokens=False)["input_ids"] == [0]
    with pytest.raises(DataError, match=r"cannot read 'b': .*; give it an unknown token"):
        tokenized(tokenizer, "b")
    with pytest.raises(DataError, match="cannot read 'b'"):
        encode_prompt(tokenizer, "b")
    with pytest.raises(DataError, match="the answer 'b' to 'a': the tokenizer cannot read"):
        encode_answer(tokenizer, "a", "b", Template())


def test_other_errors_stay_as_they_are():
    with pytest.raises(TypeError):
        tokenized(tokenizer_of(WordLevel({"a": 0})), "a", no_such_option=object(), max_length="x", truncation=True)


def test_the_end_token_pads_where_nothing_else_does():
    tokenizer = tokenizer_of(WordLevel({"a": 0, "<eos>": 1}))
    assert padding_token(tokenizer) == tokenizer.eos_token_id == 1
    tokenizer.pad_token = "a"
    assert padding_token(tokenizer) == 0
    tokenizer.pad_token = tokenizer.eos_token = None
    with pytest.raises(DataError, match="has no padding token; set its pad_token"):
        padding_token(tokenizer)


def test_half_a_surrogate_pair_is_no_text():
    with pytest.raises(DataError, match="cannot read"):
        tokenized(byte_level(), "a\udcff")
