"""The training loop of the gradient methods: order, rate, adapters, accumulation, resuming, divergence."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from helpers import same_state, state_of
from learned_cities import FAST, known, problem
from torch import nn

from mnemotomy.core.errors import TrainingError
from mnemotomy.methods.language.grad_diff import GradDiff, GradientAscent
from mnemotomy.methods.language.loop import Descent, DescentRun, rate, steps_of_epoch
from mnemotomy.methods.language.npo import NPO
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.training.adapter import LoRA
from mnemotomy.training.checkpoint import CHECKPOINT, Progress, progress_of


def test_an_epoch_has_each_example_to_forget_once():
    settings, run = Descent(batch_size=4), DescentRun("test", 10, 3, seed=5)
    steps = list(steps_of_epoch(run, settings, 1))
    assert [len(step.forget) for step in steps] == [4, 4, 2]
    assert sorted(index for step in steps for index in step.forget) == list(range(10))
    assert all(len(step.retain) == len(step.forget) and set(step.retain) <= {0, 1, 2} for step in steps)
    assert [step.number for step in steps] == [3, 4, 5]
    assert [len(part.forget) for part in steps[0].parts(3)] == [2, 2]


def test_the_rate_rises_for_an_epoch_and_falls_to_zero():
    settings = Descent(epochs=3)
    assert [round(rate(number, 2, settings), 3) for number in range(6)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_an_adapter_is_merged():
    asked = problem()
    model = NPO(**FAST | {"learning_rate": 3e-2, "epochs": 5}, lora=LoRA(rank=4))(asked)
    assert type(model) is type(asked.model)
    assert set(model.state_dict()) == set(asked.model.state_dict())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert known(model, asked.forget) < known(asked.model, asked.forget) - 0.5


def test_accumulation_changes_memory_and_not_the_result():
    asked = problem()
    whole, parts = (NPO(**FAST, accumulation=count)(asked) for count in (1, 2))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-2, atol=1e-3)


@dataclasses.dataclass(frozen=True)
class Interrupted(GradDiff):
    """Is stopped once, in its third epoch."""

    interrupted: ClassVar[list[bool]] = []

    def objective(self, problem: TextProblem) -> Any:
        inner = super().objective(problem)

        def loss(model: nn.Module, step: Any) -> torch.Tensor:
            if step.number == 2 and not self.interrupted:
                self.interrupted.append(True)
                raise KeyboardInterrupt
            return inner(model, step)

        return loss


def test_an_interrupted_run_resumes(tmp_path: Path):
    asked, method = problem(), Interrupted(**FAST)
    with pytest.raises(KeyboardInterrupt, match="checkpoint"):
        method.train(asked, copy.deepcopy(asked.model), tmp_path)
    spent = progress_of(tmp_path / CHECKPOINT).seconds
    assert 0.0 < spent < 600.0
    assert progress_of(tmp_path / "nothing") == Progress()
    other = Interrupted(**FAST | {"learning_rate": 1e-3})
    with pytest.raises(TrainingError, match="another configuration"):
        other.train(asked, copy.deepcopy(asked.model), tmp_path)
    again = method.train(asked, copy.deepcopy(asked.model), tmp_path)
    assert same_state(again, state_of(GradDiff(**FAST)(asked)))
    assert [path.name for path in tmp_path.iterdir()] == ["steps.jsonl"]


def test_divergence_is_an_error():
    with pytest.raises(TrainingError, match="smaller"):
        GradientAscent(learning_rate=1e30, epochs=3, batch_size=1, warmup_epochs=0.0)(problem())
