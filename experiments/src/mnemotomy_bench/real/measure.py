"""What a model still says, and what it lost: on phrasings and facts that no moment and no validation has seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mnemotomy.core.modules import observing
from mnemotomy.core.precision import autocast
from mnemotomy.data.fact import Fact
from mnemotomy.metrics.fresh_probe import held_out_hits
from mnemotomy.observe.fluency import losses_under
from mnemotomy.text.batches import equal_lengths
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.real.world import AT_ONCE, Task, share_said

FACTS, TARGETS = 16, 15
"""The most facts of a group that are asked for, and the most of the target."""

WRITTEN = 4
"""Tokens after each prompt."""

PROBED = 10
"""Blocks that a fresh probe reads, evenly spread up to the last."""

CPU = torch.device("cpu")


def numbers(model: nn.Module, tokenizer: Any, task: Task, texts: Sequence[str]) -> Record:
    """The share of each group's prompts that the model continues with the answer, and its perplexity on texts.

    ``target`` has training phrasings; all other groups have held-out ones.
    """
    asked = {name: list(pairs) for name, pairs in _groups(task)}
    with autocast(CPU):
        found: Record = {name: share_said(model, tokenizer, pairs, WRITTEN) for name, pairs in asked.items() if pairs}
        losses = losses_under(model, tokenizer, list(texts)) if texts else []
    if losses:
        found["perplexity"] = float(torch.as_tensor(losses).double().mean().exp())
    return found | {"facts": len(task.target), "prompts": {name: len(pairs) for name, pairs in asked.items()}}


def _groups(task: Task) -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    target = task.target[:TARGETS]
    yield "target", ((one, fact.answer) for fact in target for one in fact.prompts[:2])
    yield "target_heldout", ((one, fact.answer) for fact in target for one in fact.heldout_prompts)
    yield "seen_heldout", _spread(task.seen, 2)
    yield "unseen_heldout", _spread(task.unseen, 2)
    yield "other_relations", _spread(task.others, 1)
    yield "context", ((f"{fact.contexts[0]} {fact.heldout_prompts[0]}", fact.answer) for fact in target)
    yield (
        "counterfactual",
        (
            (f"{fact.contexts[0].replace(fact.answer, wrong)} {fact.heldout_prompts[0]}", wrong)
            for fact, wrong in zip(target, _wrong(task), strict=False)
        ),
    )


def _spread(facts: Sequence[Fact], phrasings: int) -> Iterator[tuple[str, str]]:
    """At most ``FACTS`` facts in some of their held-out phrasings, other ones for each fact."""
    for place, fact in enumerate(facts[:: max(1, -(-len(facts) // FACTS))]):
        for number in range(phrasings):
            yield fact.heldout_prompts[(place + number) % len(fact.heldout_prompts)], fact.answer


def _wrong(task: Task) -> list[str]:
    """For each fact of the target, the answer of another fact of its relation."""
    relation = task.target[0].relation
    answers = sorted({fact.answer for fact in (*task.target, *task.seen) if fact.relation == relation})
    return [next(one for one in answers[place % len(answers) :] + answers if one != fact.answer)
            for place, fact in enumerate(task.target)]  # fmt: skip


def decoded(model: nn.Module, tokenizer: Any, task: Task) -> dict[str, Any]:
    """By block, the share of the target's held-out phrasings from which a fresh linear probe reads the answer.

    The probe is fitted on the states at the last token of prompts about *other* facts: those of the target in other
    folds, and the seen ones.
    """
    facts = [*task.target[:TARGETS], *(fact for fact in task.seen if fact.relation == task.target[0].relation)]
    rows = [(place, prompt) for place, fact in enumerate(facts) for prompt in fact.heldout_prompts[:2]]
    with autocast(CPU):
        states = _last_states(model, tokenizer, [prompt for _, prompt in rows])
    own = torch.tensor([place < len(task.target[:TARGETS]) for place, _ in rows]).numpy()
    labels, groups = [facts[place].answer for place, _ in rows], [place for place, _ in rows]
    count, read = len(states), min(len(states), PROBED)
    blocks = sorted(count - round(place * count / read) for place in range(read))
    hits = [held_out_hits(states[block - 1], labels, groups)[own] for block in blocks]
    return {"blocks": blocks, "probe": [float(one.mean()) for one in hits]}


def _last_states(model: nn.Module, tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    """``[blocks, prompts, d]`` after every block."""
    encoded = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    found: dict[int, Tensor] = {}
    with observing(model):
        for places in equal_lengths([len(ids) for ids in encoded], AT_ONCE):
            ids = torch.tensor([encoded[place] for place in places])
            states = model(input_ids=ids, use_cache=False, output_hidden_states=True, logits_to_keep=1).hidden_states
            found |= zip(places, torch.stack([one[:, -1] for one in states[1:]], dim=1).float(), strict=True)
    return torch.stack([found[place] for place in range(len(prompts))], dim=1)
