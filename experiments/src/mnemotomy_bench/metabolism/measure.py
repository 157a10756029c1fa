"""Measurements of one model: recall, reading, retained abilities, and what fresh probes find."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.modules import blocks_by_name, device_of, observing
from mnemotomy.core.precision import autocast
from mnemotomy.data.fact import Fact
from mnemotomy.metabolism.probe import Layer, resolve_layer
from mnemotomy.metabolism.streams import encode_texts
from mnemotomy.text.spans import token_positions
from mnemotomy_bench.metabolism.prompts import observe_prompts
from mnemotomy_bench.metabolism.records import Attention, FreshProbes, Measured
from mnemotomy_bench.metabolism.subject import Pairs, Subject
from mnemotomy_bench.metrics.attention import attention_entropy, evidence_weight
from mnemotomy_bench.metrics.decodability import decodability
from mnemotomy_bench.real.world import share_said

_AT_ONCE = 8
"""Texts in a batch: of a vocabulary of 150,000, each token's logits take 600 kB, several times over."""


def measure(model: nn.Module, tokenizer: Any, subject: Subject, layer: Layer, *, every_layer: bool = True) -> Measured:
    """Every number of the table for one model.

    Args:
        model: after treatment, or the original.
        tokenizer: its own.
        subject: the facts and what must be kept.
        layer: l*.
        every_layer: whether to fit fresh probes before l* too, the slowest part.
    """

    def accuracy(pairs: Pairs) -> float:
        if subject.in_words:
            with autocast(device_of(model)):
                return share_said(model, tokenizer, pairs)
        prompts, answers = zip(*pairs, strict=True)
        return observe_prompts(model, tokenizer, prompts, answers=answers, separator=subject.format.separator).accuracy

    def reading(*, heldout: bool, counterfactual: bool = False) -> float:
        return accuracy([pair for pair, _ in told(subject, heldout=heldout, counterfactual=counterfactual)])

    return cast(Measured, {
        "recall_train": accuracy(asked(subject.facts, heldout=False)),
        "recall_heldout": accuracy(asked(subject.facts, heldout=True)),
        "context_train": reading(heldout=False),
        "counterfactual_train": reading(heldout=False, counterfactual=True),
        "context_heldout": reading(heldout=True),
        "counterfactual_heldout": reading(heldout=True, counterfactual=True),
        "other_facts": accuracy(subject.others),
        "reading": accuracy(subject.reading),
        "arithmetic": accuracy(subject.arithmetic),
        "perplexity": perplexity(model, tokenizer, subject.heldout_texts),
        **({"relations": accuracy(subject.relations)} if subject.relations else {}),
        **attention(model, tokenizer, subject, layer),
        **fresh_probes(model, tokenizer, subject, layer, every_layer=every_layer),
    })  # fmt: skip


def asked(facts: Sequence[Fact], *, heldout: bool) -> Pairs:
    """Every prompt of the facts without context, trained or held out, with its answer."""
    return [(p, f.answer) for f in facts for p in (f.heldout_prompts if heldout else f.prompts)]


def told(subject: Subject, *, heldout: bool, counterfactual: bool = False) -> list[tuple[tuple[str, str], str]]:
    """The same prompts after a context, each with its answer and the context; contexts alternate.

    A counterfactual context states the answer of another fact, which the model should follow.
    """
    answers = sorted({fact.answer for fact in subject.facts})
    found = []
    for number, fact in enumerate(subject.facts):
        for slot, prompt in enumerate(fact.heldout_prompts if heldout else fact.prompts):
            said = fact
            if counterfactual:
                others = [answer for answer in answers if answer != fact.answer]
                said = fact.saying(others[(number + slot) % len(others)])
            context = said.contexts[slot % len(said.contexts)]
            found.append(((subject.format.join([context], prompt), said.answer), context))
    return found


def perplexity(model: nn.Module, tokenizer: Any, texts: Sequence[str]) -> float:
    """``exp`` of the mean cross-entropy over all tokens but the first of each text."""
    total, count = 0.0, 0
    with observing(model):
        for start in range(0, len(texts), _AT_ONCE):
            batch = encode_texts(texts[start : start + _AT_ONCE], tokenizer)
            ids, mask = batch.input_ids.to(device_of(model)), batch.attention_mask.to(device_of(model))
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
            losses = nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            total += float((losses * mask[:, 1:]).sum())
            count += int(mask[:, 1:].sum())
    return math.exp(min(total / count, 700.0))  # a ruined model may exceed the range of a float


def attention(model: nn.Module, tokenizer: Any, subject: Subject, layer: Layer) -> Attention:
    """At l*, at the prediction step, with the true context: entropy in nats and weight on the evidence (Fig. 3, 4).

    Means over the held-out prompts and the heads; ``evidence_weight_best_head`` is the highest of any head.
    """
    block = layer_number(model, layer)
    pairs = told(subject, heldout=True)
    prompts = [prompt for (prompt, _), _ in pairs]
    seen = observe_prompts(model, tokenizer, prompts, attention_layers=(block,)).attention[block]
    weights = torch.stack(
        [
            evidence_weight(one, token_positions(tokenizer, prompt, answer, within=context))
            for one, ((prompt, answer), context) in zip(seen, pairs, strict=True)
        ]
    ).mean(0)
    entropy = torch.stack([attention_entropy(one) for one in seen]).mean()
    return {
        "attention_entropy": float(entropy),
        "evidence_weight": float(weights.mean()),
        "evidence_weight_best_head": float(weights.max()),
    }


def fresh_probes(
    model: nn.Module, tokenizer: Any, subject: Subject, layer: Layer, *, every_layer: bool = True
) -> FreshProbes:
    """Fresh probes for the answer at the prediction step of every layer, cross-validated over the phrasings.

    Returns:
        The best reading from l* on by kind of probe, chance, and ``layers``: a record for each layer read.
    """
    rows = list(phrasings(subject.facts))
    hidden = states_before_answers(model, tokenizer, subject)
    first = layer_number(model, layer)
    start = 0 if every_layer else first
    layers = decodability(hidden[start:], [answer for _, answer, _ in rows], [group for _, _, group in rows])
    for one in layers:
        one["layer"] += start
    deep = [one for one in layers if one["layer"] >= first]
    return {
        "fresh_linear": max(one["linear"] for one in deep),
        "fresh_two_layer": max(one["two_layer"] for one in deep),
        "fresh_shuffled": max(one["shuffled"] for one in deep),
        "chance": layers[0]["chance"],
        "layers": layers,
    }


def states_before_answers(model: nn.Module, tokenizer: Any, subject: Subject) -> Float[Tensor, "states n d"]:
    """The hidden states of every phrasing at the prediction step, where the training adversary also reads."""
    prompts, answers, _ = zip(*phrasings(subject.facts), strict=True)
    separator = subject.format.separator
    hidden = observe_prompts(model, tokenizer, prompts, answers=answers, separator=separator, hidden=True).hidden
    assert hidden is not None
    return hidden


def phrasings(facts: Sequence[Fact]) -> Iterator[tuple[str, str, int]]:
    """Every prompt without context, its answer, and the number of its phrasing."""
    for fact in facts:
        for number, prompt in enumerate(fact.prompts + fact.heldout_prompts):
            yield prompt, fact.answer, number


def layer_number(model: nn.Module, layer: Layer) -> int:
    """l* as the number of blocks passed."""
    return list(blocks_by_name(model)).index(resolve_layer(model, layer)) + 1
