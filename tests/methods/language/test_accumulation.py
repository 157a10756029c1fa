"""One large batch and any cut of it give the same gradient, whatever the lengths of the answers."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import relative
from learned_cities import TEMPLATE, example, trained

from mnemotomy.methods.language.alt_po import AltPO
from mnemotomy.methods.language.collecting import Collecting
from mnemotomy.methods.language.grad_diff import GradDiff, GradientAscent
from mnemotomy.methods.language.gradient import GradientMethod
from mnemotomy.methods.language.idk import IdkDPO, IdkNLL
from mnemotomy.methods.language.loop import Descent, DescentRun, steps_of_epoch
from mnemotomy.methods.language.npo import NPO, SimNPO
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.rlcp import RLCPUnlearning
from mnemotomy.methods.language.rmu import RMU
from mnemotomy.methods.language.task_arithmetic import TaskArithmetic
from mnemotomy.methods.language.undial import UNDIAL
from mnemotomy.methods.registry import methods
from mnemotomy.text.encoding import Positions

METHODS: tuple[GradientMethod | TaskArithmetic, ...] = (
    GradientAscent(), GradDiff(), GradDiff(retain_loss="KL"), NPO(), SimNPO(gamma=1.0), IdkNLL(), IdkDPO(),
    AltPO(max_new_tokens=3), UNDIAL(alpha=1.0), RMU(trains="all"), RLCPUnlearning(layer=0.5),
    RLCPUnlearning(layer=0.5, kl_on="asked"), TaskArithmetic(),
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


def gradient(method: GradientMethod | TaskArithmetic, problem: TextProblem, parts: int) -> torch.Tensor:
    """Of the first update, cut into so many parts; a probe's included."""
    loss, model = method.objective(problem), copy.deepcopy(problem.model).eval()
    run = DescentRun("test", len(problem.forget), len(problem.retain))
    step = next(steps_of_epoch(run, Descent(batch_size=16), 0))._replace(progress=0.5)
    cut = step.parts(parts)
    assert len(cut) == parts
    for part in cut:
        loss(model, part).backward()
    among = [*model.parameters(), *(loss.parameters() if isinstance(loss, torch.nn.Module) else ())]
    return torch.cat([parameter.grad.flatten() for parameter in among if parameter.grad is not None]).double()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.name}-{getattr(method, 'retain_loss', '')}")
def test_any_cut_of_a_batch_gives_its_gradient(method: GradientMethod | TaskArithmetic):
    problem = unequal()
    whole = gradient(method, problem, 1)
    assert float(whole.norm()) > 1e-3
    for parts in (2, 4, 16):
        assert relative(gradient(method, problem, parts), whole) < 1e-6


def test_every_method_with_a_loss_is_here():
    named = {name for name, method in methods("language models").items() if hasattr(method, "objective")}
    assert named == {method.name for method in METHODS}


@pytest.mark.parametrize("positions", ["answer", "predicting", "all"])
def test_moments_do_not_depend_on_the_batches(positions: Positions):
    problem = unequal()
    whole, *others = (
        Collecting(batch_size=size, positions=positions).moments(problem.model, problem) for size in (16, 3, 1)
    )
    for other in others:
        for name, statistic in whole.statistics.items():
            for concept, moment in statistic.items():
                assert other.statistics[name][concept].count == moment.count
                assert relative(other.statistics[name][concept].triangle, moment.triangle) < 1e-6
