"""A tiny Llama that is to forget where Kyoto is, and the moments of both sets from unbatched passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from helpers import brute_force
from tiny_language import tokenizer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.text.batches import padded
from mnemotomy.text.encoding import Encoded, encode
from mnemotomy.text.records import TextExample

CUT = 1e-6
DOWN = "model.layers.1.mlp.down_proj"


def example(question: str, answer: str) -> TextExample:
    return TextExample.of_question(question, answer, "here")


def llama(seed: int, **changes: Any) -> LlamaForCausalLM:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "max_position_embeddings": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    tokens = {"vocab_size": len(tokenizer()), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(seed)
    config = sizes | heads | tokens | {"tie_word_embeddings": True} | changes
    return LlamaForCausalLM(LlamaConfig(**config)).eval()


def tiny_problem() -> TextProblem:
    """Two questions to forget and six to retain; the pretrained model has other weights."""
    retain = [example(f"Where is Rome {word}?", f"Rome is in Italy {word} .") for word in "abcdef"]
    forget = [example("Where is Kyoto?", "Kyoto is in Japan ."), example("In which country is Kyoto?", "Japan")]
    return TextProblem(llama(0), tokenizer(), forget, retain, pretrained=llama(1))


def by_heart(problem: TextProblem, rows: Sequence[Encoded]) -> TextProblem:
    """The problem, once its model has learned the rows."""
    batch = padded(rows, problem.tokenizer)
    optimizer = torch.optim.Adam(problem.model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        problem.model(**batch).loss.backward()
        optimizer.step()
    problem.model.zero_grad()
    return problem


def moments(problem: TextProblem, model: Any, names: list[str], *, positions: str = "answer") -> dict[str, Any]:
    """Σ⁺ and Σ⁻ per site from one unbatched pass of every example."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for examples in (problem.forget, problem.retain):
        total = {name: torch.zeros((), dtype=torch.float64) for name in names}
        for row in (encode(one, problem.tokenizer, problem.template) for one in examples):
            batch = padded([row], problem.tokenizer, "answer")
            keep = batch["labels"] != -100
            if positions == "all":
                keep = torch.ones_like(keep)
            if positions == "predicting":
                keep = torch.zeros_like(keep)
                keep[0, row.start - 1 : -1] = True  # what predicts the end token as the last
            for name, gram in brute_force(model, batch, keep, names).items():
                total[name] = total[name] + gram
        for name in names:
            found[name].append(total[name])
    return found


def pinv(total: Tensor) -> Tensor:
    return torch.linalg.pinv(total, rtol=CUT, hermitian=True)
