"""What a model shows of probes without writing: each answer's tokens, and its states before the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.audit.base import Case
from mnemotomy.core.errors import ModelError
from mnemotomy.core.modules import blocks_by_name, check_window, device_of, observing
from mnemotomy.methods.language.predictions import keeping
from mnemotomy.observe.answers import AnswerObservations, observe_answers
from mnemotomy.text.batches import pad_rows, similar_lengths
from mnemotomy.text.encoding import encode_answer
from mnemotomy.text.probes import Probe, by_template

Score = Callable[[AnswerObservations], Float[Tensor, " n"]]


def answer_scores(model: nn.Module, case: Case, probes: Sequence[Probe], score: Score) -> tuple[float, ...]:
    """A number of each probe's answer, from one forward pass.

    Args:
        case: of the audit.
        probes: each in its own template.
        score: of observed answers, whose end token should not count: ending an answer is no knowledge of it.

    Raises:
        DataError, ModelError, NonFiniteError: as ``observe_answers``.
    """
    found = [0.0] * len(probes)
    for template, places in by_template(probes).items():
        some = [probes[place] for place in places]
        seen = observe_answers(
            model,
            case.tokenizer,
            [one.question for one in some],
            [one.answer for one in some],
            template=template,
            batch_size=case.batch_size,
        )
        values = score(seen).tolist()
        for place, value in zip(places, values, strict=True):
            found[place] = value
    return tuple(found)


class States(NamedTuple):
    """What stands in a model where it is about to write some tokens.

    Attributes:
        blocks: the output of each block at the token before each of them, in float32, on the CPU.
        tokens: that come next in the true text.
    """

    blocks: Float[Tensor, "blocks n d"]
    tokens: Int[Tensor, " n"]


def states_at_prompts(model: nn.Module, case: Case, probes: Sequence[Probe]) -> States:
    """The states before the first token of every answer, at every block.

    Raises:
        DataError, ModelError: as ``states_before``.
    """
    rows = [encode_answer(case.tokenizer, one.question, one.answer, one.template) for one in probes]
    return states_before(model, case, [(row.input_ids, [row.start]) for row in rows])


def states_before(model: nn.Module, case: Case, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> States:
    """The states before some tokens of each text, at every block; texts that are the same so far are read once.

    Args:
        model: to read.
        case: of the audit.
        texts: the tokens of each, and the places of those to be predicted.

    Raises:
        ModelError: the model has no blocks, a block's output is not a sequence of states, or a text is too long.
    """
    asked = [(tuple(ids[: max(places)]), tuple(places)) for ids, places in texts]
    once = list(dict.fromkeys(asked))
    check_window(model, max((len(ids) for ids, _ in once), default=0))
    blocks, found = list(blocks_by_name(model).values()), dict[tuple[tuple[int, ...], tuple[int, ...]], Tensor]()
    with observing(model):
        for some in similar_lengths([len(ids) for ids, _ in once], case.batch_size):
            # padding stands on the right, where causal attention never looks
            batch = [once[number] for number in some]
            ids = pad_rows([ids for ids, _ in batch], 0, device=device_of(model))["input_ids"]
            passed = _passed(model, blocks, ids)
            for row, one in enumerate(batch):
                before = [place - 1 for place in one[1]]
                found[one] = torch.stack([block[row, before] for block in passed]).float().cpu()
    tokens = torch.tensor([ids[place] for ids, places in texts for place in places])
    return States(torch.cat([found[one] for one in asked], dim=1), tokens)


def _passed(model: nn.Module, blocks: Sequence[nn.Module], ids: Int[Tensor, "rows length"]) -> list[Tensor]:
    """The output of every block in one forward pass, each ``[rows, length, d]``."""
    seen: dict[int, Any] = {}
    with ExitStack() as hooks:
        for number, block in enumerate(blocks):
            hook = block.register_forward_hook(lambda _m, _i, out, number=number: seen.update({number: out}))
            hooks.callback(hook.remove)
        model(input_ids=ids, use_cache=False, **keeping(model, 1))
    found = [seen[number][0] if isinstance(seen[number], tuple) else seen[number] for number in range(len(blocks))]
    if not all(isinstance(one, Tensor) and one.shape[:2] == ids.shape for one in found):
        raise ModelError(
            f"the blocks of {type(model).__name__} do not give one state per token; their states cannot be read"
        )
    return found
