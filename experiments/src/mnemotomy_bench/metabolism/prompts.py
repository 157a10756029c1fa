"""One forward pass of prompts: what a model shows before it answers."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mnemotomy.core.errors import DataError, ModelError
from mnemotomy.core.modules import device_of, observing
from mnemotomy.text.batches import equal_lengths
from mnemotomy.text.tokenizing import encode_prompt, encode_with_answer


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Eager attention inside the block; fused kernels do not return weights. Restores every implementation on exit.

    Raises:
        ModelError: the model has no attention implementation to choose.
    """
    if not hasattr(model, "set_attn_implementation"):
        raise ModelError(f"{type(model).__name__} is not a transformers model, so its attention cannot be read")
    configs = _configs(model)
    before = [(config, config._attn_implementation) for config in configs]
    try:
        cast(Any, model).set_attn_implementation("eager")
        yield
    finally:
        for config, implementation in before:  # outer ones first: setting them also sets the inner ones
            config._attn_implementation = implementation


def _configs(model: nn.Module) -> list[Any]:
    """Every configuration in the model, the outer before the inner."""
    found: dict[int, Any] = {}
    pending = [module.config for module in model.modules() if hasattr(module, "config")]
    while pending:
        config = pending.pop(0)
        if id(config) not in found and hasattr(config, "_attn_implementation"):
            found[id(config)] = config
            inner = (getattr(config, name, None) for name in getattr(config, "sub_configs", {}))
            pending += [one for one in inner if one is not None]
    return list(found.values())


@dataclass(frozen=True)
class PromptObservations:
    """Observations at the last token of n prompts, in the order of the prompts, on the CPU.

    Attributes:
        next_token_ids: the likeliest next token.
        answer_log_probability: of the first token of the answer, in nats; None without answers.
        correct: whether the likeliest next token is the first of the answer; None without answers.
        hidden: as transformers counts them: 0 is the embedding's output, l that of block l, the last one after the
            model's final norm; None unless asked for.
        attention: by block, counted from 1: the weights ``[heads, length]`` of each prompt, which sum to 1 per head.
    """

    next_token_ids: Int[Tensor, " n"]
    answer_log_probability: Float[Tensor, " n"] | None = None
    correct: Bool[Tensor, " n"] | None = None
    hidden: Float[Tensor, "states n d"] | None = None
    attention: dict[int, list[Float[Tensor, "heads length"]]] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """The share of the prompts that the model answers.

        Raises:
            DataError: the prompts were observed without answers.
        """
        if self.correct is None:
            raise DataError("accuracy needs answers; give them to observe_prompts")
        return float(self.correct.float().mean())


def observe_prompts(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    answers: Sequence[str] | None = None,
    separator: str = " ",
    hidden: bool = False,
    attention_layers: Collection[int] = (),
    batch_size: int = 64,
) -> PromptObservations:
    """Forward each prompt once and keep what its last token shows: the prediction step of Section 5.

    Prompts of one length share a batch, so nothing is padded. The model is not changed.

    Args:
        model: a transformers causal language model.
        tokenizer: the model's.
        prompts: texts that end where the answer begins.
        answers: one per prompt; only the first token counts.
        separator: between a prompt and its answer; with answers, the model reads the part of it that does not belong
            to the answer's first token.
        hidden: whether to keep the hidden states.
        attention_layers: blocks whose attention is kept, the first being 1.
        batch_size: the most prompts in a batch.

    Raises:
        DataError: there are no prompts, an answer is missing or cannot be told from its prompt, or a block is unknown.
        ModelError: the model returns no hidden states or no attention.
    """
    encoded, targets = _encoded(tokenizer, prompts, answers, separator)
    blocks = tuple(sorted(set(attention_layers)))
    if blocks and blocks[0] < 1:
        raise DataError(f"attention layers count from 1, the first block; there is no layer {blocks[0]}")
    order: list[int] = []
    parts: list[_Part] = []
    with observing(model), eager_attention(model) if blocks else nullcontext():
        for indices in equal_lengths([len(ids) for ids in encoded], batch_size):
            ids = torch.tensor([encoded[index] for index in indices], device=device_of(model))
            parts.append(_observe(model, ids, None if targets is None else targets[indices], hidden, blocks))
            order += indices
    back = torch.tensor(order).argsort()
    next_token_ids = torch.cat([part.next_token_ids for part in parts])[back]
    return PromptObservations(
        next_token_ids=next_token_ids,
        answer_log_probability=None if targets is None else torch.cat([part.log_probability for part in parts])[back],
        correct=None if targets is None else next_token_ids == targets,
        hidden=torch.cat([part.hidden for part in parts], dim=1)[:, back] if hidden else None,
        attention={block: _in_order([part.attention[block] for part in parts], back) for block in blocks},
    )


@dataclass(frozen=True)
class _Part:
    """One batch at its last position; what was not requested is empty."""

    next_token_ids: Int[Tensor, " batch"]
    log_probability: Float[Tensor, " batch"]
    hidden: Float[Tensor, "states batch d"]
    attention: dict[int, Float[Tensor, "batch heads length"]]


def _encoded(
    tokenizer: Any, prompts: Sequence[str], answers: Sequence[str] | None, separator: str
) -> tuple[list[list[int]], Int[Tensor, " n"] | None]:
    """The model's input for each prompt, and the first token of each answer."""
    if not prompts:
        raise DataError("there are no prompts; give at least one")
    if answers is None:
        return [encode_prompt(tokenizer, prompt) for prompt in prompts], None
    if len(answers) != len(prompts):
        raise DataError(f"{len(prompts)} prompts came with {len(answers)} answers; give one for each")
    pairs = zip(prompts, answers, strict=True)
    found = [encode_with_answer(tokenizer, prompt, answer, separator) for prompt, answer in pairs]
    return [whole[:start] for whole, start in found], torch.tensor([whole[start] for whole, start in found])


def _observe(
    model: nn.Module,
    ids: Int[Tensor, "batch length"],
    targets: Int[Tensor, " batch"] | None,
    hidden: bool,
    blocks: tuple[int, ...],
) -> _Part:
    # with a large vocabulary, the other positions' logits would dominate memory
    last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    output = model(input_ids=ids, use_cache=False, output_hidden_states=hidden, output_attentions=bool(blocks), **last)
    log_probabilities = output.logits[:, -1].float().log_softmax(dim=-1).cpu()
    return _Part(
        next_token_ids=log_probabilities.argmax(dim=-1),
        log_probability=torch.empty(0) if targets is None else log_probabilities.gather(1, targets[:, None])[:, 0],
        hidden=_hidden(output) if hidden else torch.empty(0),
        attention={block: _attention(output, block) for block in blocks},
    )


def _in_order(
    batches: Sequence[Float[Tensor, "batch heads length"]], back: Int[Tensor, " n"]
) -> list[Float[Tensor, "heads length"]]:
    rows = [row for batch in batches for row in batch]
    return [rows[place] for place in back.tolist()]


def _hidden(output: Any) -> Float[Tensor, "states batch d"]:
    if not getattr(output, "hidden_states", None):
        raise ModelError("the model returns no hidden states; observe it without them")
    return torch.stack([states[:, -1].float().cpu() for states in output.hidden_states])


def _attention(output: Any, block: int) -> Float[Tensor, "batch heads length"]:
    weights = getattr(output, "attentions", None) or ()
    if not any(layer is not None for layer in weights):
        raise ModelError("the model returns no attention weights; observe it without attention_layers")
    if block > len(weights):
        raise DataError(f"the attention of layer {block} was asked for, but the model returns {len(weights)} layers")
    if weights[block - 1] is None:
        raise ModelError(f"block {block} returns no attention weights; leave it out of attention_layers")
    return weights[block - 1][:, :, -1].float().cpu()
