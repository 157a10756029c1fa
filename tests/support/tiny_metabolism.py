"""Three facts, their tokenizer, and a run of `metabolize` small enough to make in a test."""

from __future__ import annotations

from dataclasses import replace

from helpers import tiny_llama
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from mnemotomy.data.fact import Fact, PromptFormat
from mnemotomy.metabolism.metabolize import metabolize
from mnemotomy.metabolism.rlcp import RLCP, Training

WORDS = [
    "<pad>",
    "<eos>",
    "Kyoto",
    "Paris",
    "Rome",
    "Japan",
    "France",
    "Italy",
    "is",
    "in",
    "lies",
    "the",
    "sky",
    "blue",
]
FORMAT = PromptFormat("{context} . {prompt}")
FACTS = tuple(
    Fact(city, country, (f"{city} is in", f"{city} lies in"), (f"{city} is in {country}", f"{city} lies in {country}"))
    for city, country in (("Kyoto", "Japan"), ("Paris", "France"), ("Rome", "Italy"))
)
RETAIN = ("the sky is blue", "blue is the sky")


def tokenizer_of_words() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)} | {".": len(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


def config(**changes) -> RLCP:
    training = Training(epochs=4, batch_size=2, learning_rate=1e-2, save_every=1)
    return replace(RLCP(layer=1, training=training), **changes)


def run(tokenizer, chosen: RLCP, model=None, **keywords):
    model = model or tiny_llama()
    return metabolize(model, tokenizer, FACTS, chosen, format=FORMAT, progress=False, **keywords)
