"""A word-level tokenizer of a world, so that each answer is one token."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from mnemotomy.data.world import World

SPECIAL_TOKENS = ("<pad>", "<unk>", "<eos>")


def world_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is the special tokens and then the world's words in order."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *world.words()])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>", padding_side="left"
    )
