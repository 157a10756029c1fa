"""One large batch and any cut of it give the same gradient, whatever the lengths of the answers."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from helpers import relative
from learned_cities import TEMPLATE, example, trained

from mnemotomy.methods.language.alt_po import AltPO
from mnemotomy.methods.language.grad_diff import GradDiff, GradientAscent
from mnemotomy.methods.language.gradient import GradientMethod
from mnemotomy.methods.language.idk import IdkDPO, IdkNLL
from mnemotomy.methods.language.loop import DescentRun, steps_of_epoch
from mnemotomy.methods.language.npo import NPO, SimNPO
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.rlcp import RLCPUnlearning
from mnemotomy.methods.language.rmu import RMU
from mnemotomy.methods.language.undial import UNDIAL
from mnemotomy.methods.registry import methods

METHODS: tuple[GradientMethod, ...] = (
    GradientAscent(), GradDiff(), GradDiff(retain_loss="KL"), NPO(), SimNPO(gamma=1.0), IdkNLL(), IdkDPO(),
    AltPO(max_new_tokens=3), UNDIAL(alpha=1.0), RMU(trains="all"), RLCPUnlearning(layer=0.5),
    RLCPUnlearning(layer=0.5, kl_on="asked"),
)  # fmt: skip


def unequal() -> TextProblem:
    """Sixteen examples to forget: the first answers are of three words, the last ones of many."""
    cities = ("Kyoto", "Paris", "Rome")
    forget = [
        example(f"In which country is {cities[number % 3]}?", " ".join(["Japan lies in"] * (1 + number // 3)))
        for number in range(16)
    ]
    retain = [
        example(f"{cities[number]} lies in which country?", " ".join(["Rome"] * (2 + 5 * number)))
        for number in range(3)
    ]
    model, tokenizer = trained()
    return TextProblem(model, tokenizer, forget, retain, TEMPLATE)


def gradient(method: GradientMethod, problem: TextProblem, parts: int) -> torch.Tensor:
    """Of the first update, cut into so many parts; a probe's included."""
    loss, model = method.objective(problem), copy.deepcopy(problem.model).eval()
    run = DescentRun("test", len(problem.forget), len(problem.retain))
    step = next(steps_of_epoch(run, dataclasses.replace(method, batch_size=16), 0))._replace(progress=0.5)
    cut = step.parts(parts)
    assert len(cut) == parts
    for part in cut:
        loss(model, part).backward()
    among = [*model.parameters(), *(loss.parameters() if isinstance(loss, torch.nn.Module) else ())]
    return torch.cat([parameter.grad.flatten() for parameter in among if parameter.grad is not None]).double()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.name}-{getattr(method, 'retain_loss', '')}")
def test_any_cut_of_a_batch_gives_its_gradient(method: GradientMethod):
    problem = unequal()
    whole = gradient(method, problem, 1)
    assert float(whole.norm()) > 1e-3
    for parts in (2, 4, 16):
        assert relative(gradient(method, problem, parts), whole) < 1e-6


def test_every_gradient_method_is_here():
    named = {name for name, method in methods("language models").items() if issubclass(method, GradientMethod)}
    assert named == {method.name for method in METHODS}
