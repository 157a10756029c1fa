"""The language demo's model: a small Qwen2 trained on the small world, and cached."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import tokenizers
import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

import mnemotomy as mt
from mnemotomy.demo.world import Kind, Probe, Text, World, world_tokenizer

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class WorldModelConfig:
    """Shape and training recipe."""

    hidden_size: int = 192
    intermediate_size: int = 192
    layers: int = 6
    heads: int = 6
    key_value_heads: int = 2
    steps: int = 500
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 0.1
    text_weight: float = 0.1
    context_share: float = 0.5
    sum_repeats: int = 4
    initializer_range: float = 0.05
    beta2: float = 0.98
    seed: int = 0


def train_world_model(
    world: World, config: WorldModelConfig, cache_dir: str | Path, progress: bool = True
) -> tuple[Qwen2ForCausalLM, PreTrainedTokenizerFast]:
    """The trained model and its tokenizer, cached in `cache_dir`."""
    folder = Path(cache_dir) / f"world-{_cache_key(world, config)[:16]}"
    with quiet():
        if not (folder / "training.json").is_file():
            model, tokenizer, record = _trained(world, config, progress)
            extra = {"training.json": json.dumps(record, indent=2) + "\n"}
            mt.save_model(model, folder, tokenizer=tokenizer, extra=extra)
        loaded, tokenizer = mt.load_model(folder), mt.load_tokenizer(folder)
    return cast(Qwen2ForCausalLM, loaded).eval(), cast(PreTrainedTokenizerFast, tokenizer)


def evaluate(model: nn.Module, tokenizer: PreTrainedTokenizerFast, probes: Sequence[Probe]) -> float:
    """Share of the probes whose greedy next token is the answer."""
    if not probes:
        raise mt.MnemotomyError("there are no probes to evaluate; give at least one")
    words = generate(model, tokenizer, [probe.prompt for probe in probes])
    return sum(word == probe.answer for word, probe in zip(words, probes, strict=True)) / len(probes)


def generate(model: nn.Module, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]) -> list[str]:
    """The greedy next word of each prompt, in the given order; the model's mode is restored."""
    encoded = [cast(list[int], tokenizer(prompt)["input_ids"]) for prompt in prompts]
    device = next(model.parameters()).device
    answers = [""] * len(prompts)
    with _evaluating(model), torch.no_grad():
        for indices in equal_lengths([len(ids) for ids in encoded], EVALUATION_BATCH):
            batch = torch.tensor([encoded[index] for index in indices], device=device)
            chosen = model(input_ids=batch, use_cache=False).logits[:, -1].argmax(dim=-1).tolist()
            for index, token in zip(indices, chosen, strict=True):
                answers[index] = cast(str, tokenizer.convert_ids_to_tokens(token))
    return answers


def equal_lengths(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Indices in groups of equal length and at most ``size``, shortest first: no batch needs padding."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    for length in sorted(by_length):
        indices = by_length[length]
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


def _cache_key(world: World, config: WorldModelConfig) -> str:
    """SHA-256 of everything that the weights depend on."""
    contents = {
        "config": asdict(config),
        "corpus": [asdict(text) for text in world.corpus()],
        "words": world.words(),
        "versions": _versions(),
    }
    return hashlib.sha256(json.dumps(contents, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }


def _trained(
    world: World, config: WorldModelConfig, progress: bool
) -> tuple[Qwen2ForCausalLM, PreTrainedTokenizerFast, dict[str, object]]:
    """The model, its tokenizer, and a record of the training."""
    started = time.perf_counter()
    tokenizer = world_tokenizer(world)
    texts = world.corpus()
    # Leave the caller's random state alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = _new_model(config, tokenizer)
        _fit(model, _Batches(texts, tokenizer, config), config, progress)
    record = {
        "config": asdict(config),
        "versions": _versions(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "texts": len(texts),
        "seconds": round(time.perf_counter() - started, 1),
        "losses": _answer_losses(model, tokenizer, texts),
    }
    return model, tokenizer, record


def _new_model(config: WorldModelConfig, tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            max_position_embeddings=64,
            initializer_range=config.initializer_range,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


class _Batches:
    """As many unpadded batches of texts of equal length as there are steps, from as many epochs as that takes.

    An epoch has each fact once, a share of the contexts, and each sum several times: contexts are many and easy, sums
    few and hard.
    """

    def __init__(self, texts: Sequence[Text], tokenizer: PreTrainedTokenizerFast, config: WorldModelConfig) -> None:
        eos = cast(int, tokenizer.eos_token_id)
        self._rows = [[*cast(list[int], tokenizer(text.text)["input_ids"]), eos] for text in texts]
        self._indices: dict[Kind, list[int]] = {"fact": [], "context": [], "arithmetic": []}
        for index, text in enumerate(texts):
            self._indices[text.kind].append(index)
        self._config = config
        self._shuffle = torch.Generator().manual_seed(config.seed)

    def __len__(self) -> int:
        return self._config.steps

    def __iter__(self) -> Iterator[Tensor]:
        """Token ids [batch, length]; the last two columns are the answer and the end token."""
        return itertools.islice(self._endless(), self._config.steps)

    def _endless(self) -> Iterator[Tensor]:
        while True:
            order = self._epoch()
            lengths = [len(self._rows[index]) for index in order]
            groups = list(equal_lengths(lengths, self._config.batch_size))
            for position in torch.randperm(len(groups), generator=self._shuffle).tolist():
                yield torch.tensor([self._rows[order[index]] for index in groups[position]])

    def _epoch(self) -> list[int]:
        """Shuffled indices of one epoch's texts."""
        contexts = self._shuffled(self._indices["context"])
        kept = contexts[: round(self._config.context_share * len(contexts))]
        sums = self._indices["arithmetic"] * self._config.sum_repeats
        return self._shuffled(self._indices["fact"] + kept + sums)

    def _shuffled(self, indices: list[int]) -> list[int]:
        order = torch.randperm(len(indices), generator=self._shuffle).tolist()
        return [indices[position] for position in order]


def _fit(model: Qwen2ForCausalLM, batches: _Batches, config: WorldModelConfig, progress: bool) -> None:
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    plain = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, config))
    mt.fit(
        model,
        batches,
        functools.partial(_loss, text_weight=config.text_weight),
        optimizer,
        schedule=schedule,
        clip=1.0,
        name="training the world model",
        progress=progress,
    )


def _rate(step: int, config: WorldModelConfig) -> float:
    """The factor of the learning rate: linear warm-up, then a cosine to zero."""
    warmup = max(1, round(config.warmup * config.steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup)))


def _loss(model: nn.Module, ids: Tensor, text_weight: float) -> Tensor:
    """Cross-entropy per text: the answer counts 1, every other token `text_weight`."""
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    weights = torch.full_like(losses, text_weight)
    # The last two tokens are the answer and the end token.
    weights[:, -2] = 1.0
    return (losses * weights).sum() / len(ids)


def _answer_losses(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: Sequence[Text]
) -> dict[Kind, float]:
    """Mean cross-entropy of the answers per kind of text."""
    totals: dict[Kind, list[float]] = {}
    encoded = [cast(list[int], tokenizer(text.text)["input_ids"]) for text in texts]
    with _evaluating(model), torch.no_grad():
        for indices in equal_lengths([len(ids) for ids in encoded], EVALUATION_BATCH):
            ids = torch.tensor([encoded[index] for index in indices])
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits[:, -1]
            losses = nn.functional.cross_entropy(logits, ids[:, -1], reduction="none").tolist()
            for index, loss in zip(indices, losses, strict=True):
                totals.setdefault(texts[index].kind, []).append(loss)
    return {kind: sum(losses) / len(losses) for kind, losses in totals.items()}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; the previous mode is restored."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress transformers' progress bars and warnings."""
    logs = transformers.utils.logging
    level, bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if bars:
            logs.enable_progress_bar()
