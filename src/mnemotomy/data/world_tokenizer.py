"""A word-level tokenizer of a world, so that each answer is one token."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from mnemotomy.data.world import UNKNOWN_WORD, World

END = "<eos>"


def world_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is two special tokens and then the world's words in order.

    The unknown word is the padding token too: its embedding is then fixed at zero, so a name that the model
    cannot see at all reads as an unknown one.
    """
    vocabulary = {word: index for index, word in enumerate([UNKNOWN_WORD, END, *world.words()])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN_WORD))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=UNKNOWN_WORD, unk_token=UNKNOWN_WORD, eos_token=END, padding_side="left"
    )
