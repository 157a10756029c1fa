"""A tiny Llama that has learned in which countries three cities lie, and is to forget one of them."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tiny_language
from torch import nn

from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.methods.language.grad_diff import GradDiff
from mnemotomy.methods.language.predictions import sequence_log_probabilities
from mnemotomy.methods.language.problem import TextProblem, sequences
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import Template

TEMPLATE = Template(system=None, date=None)
COUNTRIES = {"Kyoto": "Japan", "Paris": "France", "Rome": "Italy"}
FAST: dict[str, Any] = {"learning_rate": 3e-3, "epochs": 3, "batch_size": 2, "warmup_epochs": 0.0}


def example(question: str, answer: str) -> TextExample:
    return TextExample.of_question(question, answer, "here")


def examples(cities: Sequence[str]) -> list[TextExample]:
    forms = ("In which country is {}?", "{} lies in which country?")
    return [example(form.format(city), f"{city} lies in {COUNTRIES[city]} .") for city in cities for form in forms]


@functools.cache
def trained() -> tuple[nn.Module, Any]:
    """A model that knows the three countries, and its tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        tiny_language.save_llama(Path(folder), initializer_range=0.1, max_position_embeddings=512)
        model, tokenizer = load_model(folder), load_tokenizer(folder)
    known = examples(list(COUNTRIES))
    learning = TextProblem(model, tokenizer, known, known, TEMPLATE, end_token=True)
    settings: dict[str, Any] = FAST | {"learning_rate": 1e-2, "epochs": 60, "batch_size": 6}
    return GradDiff(**settings, gamma=0.0)(learning), tokenizer


def problem(seed: int = 0) -> TextProblem:
    model, tokenizer = trained()
    return TextProblem(model, tokenizer, examples(["Kyoto"]), examples(["Paris", "Rome"]), TEMPLATE, seed=seed)


def known(model: nn.Module, of: Sequence[TextExample]) -> float:
    """The mean log-probability of the answers."""
    asked = problem()
    return float(sequence_log_probabilities(model, sequences(asked, of), asked.tokenizer).mean())
