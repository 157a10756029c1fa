"""``fit``: the loop for networks that need nothing more."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import same_state, state_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import mnemotomy as mt
from mnemotomy.core.errors import TrainingError

INPUTS = torch.randn(22, 3, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))


def error(model: nn.Module, batch: list[Tensor]) -> Tensor:
    return (model(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean()


def loader() -> DataLoader:
    return DataLoader(TensorDataset(INPUTS), batch_size=4, shuffle=True)


def test_it_does_what_a_plain_loop_does():
    plain, model = network(), network()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    torch.manual_seed(3)
    for _ in range(2):
        for batch in loader():
            optimizer.zero_grad()
            error(plain, batch).backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
            optimizer.step()
            schedule.step()
    other = torch.optim.AdamW(model.parameters(), lr=0.05)
    falling = torch.optim.lr_scheduler.ExponentialLR(other, 0.9)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    assert mt.fit(model, loader(), error, other, epochs=2, schedule=falling, clip=0.5, seed=3) is model
    assert torch.equal(torch.rand(1), expected)
    assert same_state(model, state_of(plain))
    assert not model.training
    before = copy.deepcopy(model)
    mt.fit(model, iter([[INPUTS]]), error, torch.optim.SGD(model.parameters(), lr=0.1))
    assert not same_state(model, state_of(before))


def test_a_loss_that_is_not_finite_is_an_error():
    model = network()
    with pytest.raises(TrainingError, match=r"toy: the loss of step 0 is not finite, at learning rate 0\.1"):
        mt.fit(model, [[INPUTS * float("inf")]], error, torch.optim.SGD(model.parameters(), lr=0.1), name="toy")


def test_each_update_can_be_followed():
    model, seen = network(), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    mt.fit(model, loader(), error, optimizer, epochs=2, progress=False, on_update=seen.append)
    assert [record["step"] for record in seen] == list(range(12))
    assert [record["epoch"] for record in seen] == [0] * 6 + [1] * 6
    assert all(record["total"] > 0 and record["learning_rate"] == 0.05 for record in seen)
