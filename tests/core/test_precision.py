"""Passes in bfloat16 see the weights as they are, also those that change in between."""

from __future__ import annotations

import torch
from torch import nn

from mnemotomy.core.precision import autocast

CPU = torch.device("cpu")


def test_weights_that_change_inside_are_seen():
    torch.manual_seed(0)
    layer, inputs = nn.Linear(4, 3), torch.randn(5, 4)
    with autocast(CPU, "bf16", backward=True):
        before = layer(inputs)
        with torch.no_grad():
            layer.weight.neg_()
            layer.bias.neg_()
        after = layer(inputs)
    assert before.dtype == torch.bfloat16
    assert torch.equal(after, -before)


def test_steps_inside_are_those_of_float32_but_for_rounding():
    torch.manual_seed(0)
    layer, inputs = nn.Linear(8, 1), torch.randn(64, 8)
    target = inputs @ torch.arange(8.0)[:, None]

    def trained(precision):
        model = nn.Linear(8, 1)
        model.load_state_dict(layer.state_dict())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with autocast(CPU, precision, backward=True):
            for _ in range(120):
                optimizer.zero_grad()
                nn.functional.mse_loss(model(inputs).float(), target).backward()
                optimizer.step()
        return model.weight

    assert (trained("no") - torch.arange(8.0)).abs().max() < 0.01
    assert (trained("bf16") - torch.arange(8.0)).abs().max() < 0.1
