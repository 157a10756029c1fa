"""Why the model behaves so: hidden states in two dimensions, gradients, bounds and energy (Sections 3.1, 3.2, 5.3)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from mnemotomy.core.modules import blocks_by_name, device_of
from mnemotomy.metabolism.probe import Layer
from mnemotomy.metabolism.streams import encode_answers
from mnemotomy.metabolism.terms import answer_cross_entropy, spread
from mnemotomy.text.spans import token_positions
from mnemotomy.text.tokenizing import encode_prompt
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.metabolism.energy import metabolic_energy
from mnemotomy_bench.metabolism.measure import asked, layer_number, phrasings, states_before_answers, told
from mnemotomy_bench.metabolism.prompts import observe_prompts
from mnemotomy_bench.metabolism.subject import Pairs, Subject
from mnemotomy_bench.metabolism.theory import bound_of_corollary, bound_of_proposition, gradient_cosines
from mnemotomy_bench.metrics.decodability import fresh_probe, without_phrasing

RATE = 1e-4
"""η of the bounds: small enough that the remainder is of second order in float32."""


def tsne(model: nn.Module, tokenizer: Any, subject: Subject, layer: Layer, seed: int = 0) -> Record:
    """The states at l* of prompts about cities and about fruits, in the plane (Fig. 1, 2).

    Returns:
        ``points [n, 2]``, ``kind`` (city or fruit) and ``answer`` of each, ``separability`` of the two kinds and
        ``identity``: the share of points whose nearest neighbour in the full space has the same answer.
    """
    from sklearn.manifold import TSNE

    rows = list(phrasings(subject.facts))
    prompts = [prompt for prompt, _, _ in rows] + list(subject.fruits)
    hidden = observe_prompts(model, tokenizer, prompts, hidden=True).hidden
    assert hidden is not None
    states = hidden[layer_number(model, layer)]
    answers = [answer for _, answer, _ in rows] + ["fruit"] * len(subject.fruits)
    cities = states[: len(rows)]
    distances = torch.cdist(cities, cities).fill_diagonal_(float("inf"))
    nearest = distances.argmin(1).tolist()
    points = TSNE(perplexity=min(30, len(prompts) // 4), init="pca", random_state=seed).fit_transform(states.numpy())
    return {
        "points": points.tolist(),
        "kind": ["city"] * len(rows) + ["fruit"] * len(subject.fruits),
        "answer": answers,
        "identity": sum(answers[i] == answers[j] for i, j in enumerate(nearest)) / len(rows),
    }


def attention_map(model: nn.Module, tokenizer: Any, subject: Subject, layer: Layer) -> Record:
    """The attention of every head at l* from the prediction step of one prompt with its context (Fig. 3)."""
    (prompt, answer), _ = told(subject, heldout=True)[0]
    block = layer_number(model, layer)
    weights = observe_prompts(model, tokenizer, [prompt], attention_layers=(block,)).attention[block][0]
    tokens = tokenizer.convert_ids_to_tokens(encode_prompt(tokenizer, prompt))
    return {"tokens": tokens, "answer": answer, "weights": weights.tolist()}


def gradients(model: nn.Module, tokenizer: Any, subject: Subject) -> Record:
    """Assumption 3.1 block by block, and the bounds of Proposition 3.2 and Corollary 3.4 against the measured change.

    The fact loss is the cross-entropy of the targets, the logic loss that of small sums.
    """
    separator = subject.format.separator
    fact = _loss(asked(subject.facts, heldout=False), tokenizer, separator)
    logic = _loss(subject.arithmetic, tokenizer, separator)
    reading = _loss(subject.reading, tokenizer, separator)
    cosines = gradient_cosines(model, fact, logic)
    components = {"facts": (RATE, fact), "reading": (-RATE, reading)}
    return {
        "overall_cosine": cosines.overall.cosine,
        "blocks": cosines.records(),
        "proposition": asdict(bound_of_proposition(model, fact, logic, RATE)),
        "corollary": asdict(bound_of_corollary(model, components, logic, 1.0)),
    }


def magnified(model: nn.Module, tokenizer: Any, subject: Subject, layer: Layer) -> Record:
    """What a fresh linear probe reads from l* on after centring by phrasing and rescaling the rest.

    Returns:
        By layer: ``accuracy``, and ``residual``: the share of the states' squared norm that differs between subjects.
    """
    rows = list(phrasings(subject.facts))
    hidden = states_before_answers(model, tokenizer, subject)
    answers, groups = [answer for _, answer, _ in rows], [group for _, _, group in rows]
    found: Record = {}
    for number in range(layer_number(model, layer), len(hidden)):
        states = hidden[number].double()
        slots = torch.tensor(groups)
        found[str(number)] = {
            "accuracy": fresh_probe(without_phrasing(states, groups), answers, groups).accuracy,
            "residual": float(spread(states, slots)),
        }
    return found


def energy(model: nn.Module, tokenizer: Any, subject: Subject, samples: int = 8) -> Record:
    """The metabolic energy of the subjects' own tokens at every layer, from one prompt of each fact."""
    pairs = [(fact.prompts[0], fact.subject) for fact in subject.facts]
    encoded = tokenizer([prompt for prompt, _ in pairs], return_tensors="pt", padding=True, padding_side="right")
    batch = {name: encoded[name].to(device_of(model)) for name in ("input_ids", "attention_mask")}
    positions = [token_positions(tokenizer, prompt, name) for prompt, name in pairs]
    layers = range(1, len(blocks_by_name(model)) + 1)
    found = metabolic_energy(model, batch, list(layers), positions, samples=samples)
    return asdict(found) | {"total": found.total}


def _loss(pairs: Pairs, tokenizer: Any, separator: str) -> Any:
    """The mean cross-entropy of the answers as a function of the model."""
    texts = encode_answers(pairs, tokenizer, separator)

    def loss(model: Any) -> Tensor:
        device = device_of(model)
        logits = model(
            input_ids=texts.input_ids.to(device), attention_mask=texts.attention_mask.to(device), use_cache=False
        ).logits
        return answer_cross_entropy(logits, texts.labels.to(device))

    return loss
