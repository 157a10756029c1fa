"""Batch normalisation's running statistics read again after an edit."""

from __future__ import annotations

import pytest
import torch
from helpers import state_of
from torch import nn

from mnemotomy.core.errors import DataError
from mnemotomy.engram.recalibrate import recalibrate_, recalibrated


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 5),
        nn.BatchNorm1d(5, momentum=0.3), nn.BatchNorm1d(5, track_running_stats=False),
    ).eval()  # fmt: skip


def images(count: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_statistics_are_those_of_the_batches_in_evaluation_mode(model):
    before = state_of(model)
    assert recalibrate_(model, images().split(32)) is model
    inputs = model[0](images())
    torch.testing.assert_close(model[1].running_mean, inputs.mean((0, 2, 3)))
    variances = [part.var((0, 2, 3)) for part in inputs.split(32)]
    torch.testing.assert_close(model[1].running_var, torch.stack(variances).mean(0))
    # what later layers read while statistics are taken is normalised by the batch's own
    read = [nn.functional.batch_norm(model[0](part), None, None, model[1].weight, model[1].bias, True).relu()
            for part in images().split(32)]  # fmt: skip
    torch.testing.assert_close(
        model[6].running_mean, torch.stack([model[5](part.flatten(1)).mean(0) for part in read]).mean(0)
    )
    for name, value in state_of(model).items():
        assert "running" in name or "tracked" in name or torch.equal(value, before[name])
    assert (model[1].momentum, model[6].momentum) == (0.1, 0.3)
    assert not any(module.training for module in model.modules())


def test_scaling_a_layer_before_is_undone(model):
    recalibrate_(model, images().split(32))
    expected = model(images())
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter.mul_(0.5)
    assert not torch.allclose(model(images()), expected, atol=0.05)
    recalibrate_(model, images().split(32))
    torch.testing.assert_close(model(images()), expected, rtol=1e-3, atol=1e-3)


def test_a_context_gives_the_old_ones_back(model):
    before = state_of(model)
    with recalibrated(model, images().split(32)) as inside:
        assert inside is model
        assert not torch.equal(model[1].running_mean, before["1.running_mean"])
    assert all(torch.equal(value, before[name]) for name, value in state_of(model).items())


def test_flags_of_a_model_in_training_stay(model):
    model.train()
    recalibrate_(model, images().split(32))
    assert all(module.training for module in model.modules())


def test_a_model_without_batch_normalisation_is_not_called():
    model = nn.Linear(3, 2)
    assert recalibrate_(model, iter(())) is model


def test_bad_batches_are_refused_and_leave_the_statistics(model):
    before = state_of(model)
    with pytest.raises(DataError, match="no batch"):
        recalibrate_(model, [])
    with pytest.raises(DataError, match="no variance"):
        recalibrate_(model, [images(), images(1)])
    with pytest.raises(RuntimeError):
        recalibrate_(model, [images(), torch.zeros(2, 7)])
    assert all(torch.equal(value, before[name]) for name, value in state_of(model).items())
    assert model[1].momentum == 0.1


def test_batches_are_of_any_usual_form(model):
    alone = recalibrate_(model, images().split(32))[1].running_mean.clone()
    labelled = [(part, torch.zeros(len(part))) for part in images().split(32)]
    torch.testing.assert_close(recalibrate_(model, labelled)[1].running_mean, alone)
