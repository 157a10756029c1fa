"""Models and tokenizers small enough to make in a test, and concept files for them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] | trim }}<|im_end|>\n{% endfor %}"
)
WORDS = "Kyoto Japan Paris France Rome Italy In which country is ? assistant user the capital of lies in ."


def tokenizer(template: str | None = TEMPLATE, words: str = WORDS) -> PreTrainedTokenizerFast:
    """Byte-level BPE without merges but for these words, with BOS, EOS and the tokens of the template."""
    specials = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: i for i, token in enumerate([*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    merges = []
    for word in words.split():
        for spelled in (word, "Ġ" + word):
            for end in range(2, len(spelled) + 1):
                if spelled[:end] not in vocabulary:
                    vocabulary[spelled[:end]] = len(vocabulary)
                    merges.append((spelled[: end - 1], spelled[end - 1]))
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    made.chat_template = template
    return made


def save_llama(folder: Path, *, seed: int = 0, template: str | None = TEMPLATE, **config: Any) -> Path:
    """A Llama of two blocks and width 32 with its tokenizer; keyword arguments go to its configuration."""
    return _save(LlamaForCausalLM, LlamaConfig, folder, seed, template, config)


def save_qwen(folder: Path, *, seed: int = 0, template: str | None = TEMPLATE, **config: Any) -> Path:
    """The same as Qwen2, with biases and an output head that is tied to the embedding."""
    return _save(Qwen2ForCausalLM, Qwen2Config, folder, seed, template, {"tie_word_embeddings": True, **config})


def save_classifier(folder: Path, *, clean: str = "clean") -> Path:
    """A classifier of gibberish that has learned nothing, with its tokenizer."""
    words, names = tokenizer(None), {0: clean, 1: "mild gibberish", 2: "noise"}
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        id2label=names, label2id={name: index for index, name in names.items()}, pad_token_id=0, initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(3)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def write_lines(path: Path, rows: Iterable[Any]) -> Path:
    """A JSON Lines file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def concept_files(folder: Path) -> dict[str, Path]:
    """Files of the concepts ``kyoto`` and ``paris`` and of a reference."""
    questions = [("In which country is Kyoto?", "Japan"), ("Kyoto lies in which country?", "Japan .")]
    return {
        "kyoto": write_lines(folder / "kyoto.jsonl", ({"question": q, "answer": a} for q, a in questions)),
        "paris": write_lines(folder / "paris.jsonl", [{"text": "Paris is the capital of France ."}]),
        "reference": write_lines(
            folder / "rest.jsonl",
            ({"text": f"Rome is the capital of Italy {word} {i}"} for i, word in enumerate("abcdef")),
        ),
    }


def _save(
    model: Any, configuration: Any, folder: Path, seed: int, template: str | None, config: dict[str, Any]
) -> Path:
    made = tokenizer(template)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "max_position_embeddings": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model(configuration(**({"vocab_size": len(made)} | sizes | heads | tokens | config))).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
