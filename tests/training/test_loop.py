"""The one training loop: seeds, records, what is not finite, checkpoints, recovery."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from helpers import same_state, state_of
from torch import Tensor, nn

from mnemotomy.core.errors import TrainingError
from mnemotomy.training.checkpoint import Checkpoints, progress_of
from mnemotomy.training.loop import Outcome, Run, Terms, Update, train
from mnemotomy.training.optimiser import Optimiser, cosine, decaying_matrices, linear, trained_parameters

EPOCHS, UPDATES = 4, 3


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))


def draw(_: int, generator: torch.Generator) -> list[Update[Tensor]]:
    return [Update([torch.rand(5, 3, generator=generator)]) for _ in range(UPDATES)]


def error(model: nn.Module, inputs: Tensor) -> Tensor:
    return (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()


def optimiser(model: nn.Module, **changes: Any) -> Optimiser:
    optimizer = torch.optim.AdamW(decaying_matrices(model.parameters(), 0.1), lr=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda number: linear(number, EPOCHS * UPDATES, 2))
    return Optimiser(optimizer, schedule, **{"clip": 1.0} | changes)


def trained(model: nn.Module, loss: Any = error, **changes: Any) -> Outcome:
    how = Run(**{"name": "test", "epochs": EPOCHS, "seed": 7, "progress": False} | changes)
    return train(model, draw, loss, optimiser(model), how)


def test_the_seed_decides_and_the_global_random_state_stays():
    models = [network() for _ in range(3)]
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    for model, seed in zip(models, (7, 7, 8), strict=True):
        trained(model, seed=seed)
        assert not model.training
        assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.rand(1), expected)
    assert same_state(models[0], state_of(models[1]))
    assert not same_state(models[0], state_of(models[2]))


def test_every_update_is_recorded(tmp_path):
    log = tmp_path / "steps.jsonl"

    def terms(model: nn.Module, inputs: Tensor) -> Terms:
        value = error(model, inputs)
        return Terms(2.0 * value, {"error": float(value.detach())})

    outcome = trained(network(), terms, log=log)
    assert [json.loads(line) for line in log.read_text().splitlines()] == outcome.records
    assert [record["step"] for record in outcome.records] == list(range(EPOCHS * UPDATES))
    assert [record["epoch"] for record in outcome.records] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert all(record["total"] == pytest.approx(2.0 * record["error"]) for record in outcome.records)
    rates = [record["learning_rate"] for record in outcome.records]
    assert rates == [0.05 * linear(number, EPOCHS * UPDATES, 2) for number in range(EPOCHS * UPDATES)]
    assert outcome.stopped is None
    assert outcome.seconds > 0.0


def test_an_interrupted_run_goes_on_with_statistics_dropout_and_rates(tmp_path):
    whole, part = network(), network()
    records = trained(whole).records
    checkpoints = Checkpoints(tmp_path / "checkpoint", "key", last=False)
    calls: list[int] = []

    def interrupted(model: nn.Module, inputs: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 2 * UPDATES + 2:
            raise KeyboardInterrupt
        return error(model, inputs)

    with pytest.raises(KeyboardInterrupt, match=r"resume from .*checkpoint with the same command"):
        trained(part, interrupted, checkpoints=checkpoints, log=tmp_path / "log")
    assert not part.training
    assert progress_of(checkpoints.folder).epochs == 2
    again = network()
    with pytest.raises(TrainingError, match="another configuration"):
        trained(again, checkpoints=Checkpoints(checkpoints.folder, "other"))
    assert trained(again, checkpoints=checkpoints, log=tmp_path / "log").records == records
    assert same_state(again, state_of(whole))
    assert progress_of(checkpoints.folder).epochs == EPOCHS - 1


def test_nothing_saved_is_said(tmp_path):
    def interrupted(model: nn.Module, inputs: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="nothing was saved"):
        trained(network(), interrupted, checkpoints=Checkpoints(tmp_path / "none", "key"))


def poisoned(at: int) -> Any:
    calls: list[int] = []

    def loss(model: nn.Module, inputs: Tensor) -> Tensor:
        calls.append(1)
        return error(model, inputs) * (float("nan") if len(calls) == at else 1.0)

    return loss


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(TrainingError, match=r"test: the loss of step 4 is not finite, at learning rate 0.05"):
        trained(network(), poisoned(5))


def test_a_run_that_recovers_ends_with_the_last_good_weights():
    good, model = network(), network()
    trained(good, epochs=1)
    outcome = trained(model, poisoned(5), recovers=True)
    assert outcome.stopped == "the loss of step 4 is not finite"
    assert len(outcome.records) == 4
    assert same_state(model, state_of(good))


def test_without_a_seed_torchs_own_state_goes_on():
    first, second = network(), network()
    torch.manual_seed(3)
    trained(first, seed=None)
    torch.manual_seed(3)
    trained(second, seed=None)
    assert same_state(first, state_of(second))


def test_in_evaluation_mode_there_is_no_dropout_and_statistics_stay():
    model = network()
    before = model[1].running_mean.clone()
    trained(model, evaluating=True)
    assert torch.equal(model[1].running_mean, before)


def test_parts_are_added_up():
    whole, parts = nn.Linear(3, 1), nn.Linear(3, 1)
    parts.load_state_dict(whole.state_dict())
    rows = torch.rand(6, 3)

    def mean(model: nn.Module, some: Tensor) -> Tensor:
        return model(some).square().sum() / len(rows)

    for model, cut in ((whole, [rows]), (parts, [rows[:1], rows[1:4], rows[4:]])):
        sgd = Optimiser(torch.optim.SGD(model.parameters(), lr=0.1))
        train(model, lambda *_, cut=cut: [Update(cut)], mean, sgd, Run("test", 2, progress=False))
    for value, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-6, atol=1e-7)


def test_gradients_are_adjusted_last():
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()

    def hold_the_first_row() -> None:
        assert model.weight.grad is not None
        model.weight.grad[0] = 0.0

    sgd = Optimiser(torch.optim.SGD(model.parameters(), lr=0.1), clip=1.0, adjust=hold_the_first_row)
    train(model, draw, lambda m, rows: m(rows).square().mean(), sgd, Run("test", 1, seed=0, progress=False))
    assert torch.equal(model.weight[0], before[0])
    assert not torch.equal(model.weight[1], before[1])


def test_shapes_of_the_rate():
    assert [linear(number, 6, 2) for number in range(7)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    found = [cosine(number, 6, 2) for number in range(7)]
    assert found == pytest.approx([0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447, 0.0], abs=1e-6)


def test_a_model_without_anything_to_train_is_refused():
    with pytest.raises(TrainingError, match="no parameter requires gradients"):
        trained_parameters(nn.Linear(1, 1).requires_grad_(False), "test")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_which_updates_are_rounded_away_are_refused(dtype: torch.dtype):
    model = network().to(dtype)
    before = state_of(model)
    with pytest.raises(TrainingError, match="in which most updates are rounded away; load the model in float32"):
        trained(model)
    assert same_state(model, before)
