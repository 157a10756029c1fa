"""Batch normalisation after an edit: running statistics computed again from the retain set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mnemotomy.core.errors import DataError
from mnemotomy.core.modules import device_of, observing
from mnemotomy.engram.forward import Forward, default_forward, move

Model = TypeVar("Model", bound=nn.Module)


def recalibrate_(model: Model, batches: Iterable[Any], *, forward: Forward | None = None) -> Model:
    """Replace the running statistics of every batch normalisation by those of ``batches``, and return the model.

    Running statistics describe the activations before an edit. If an edit scales down all of a layer's input, as Eq. 4
    does by ``n⁺/N`` for input that classes share, every later layer is shifted by an outdated mean. No weight changes
    and no label is read (Li et al. 2016, Revisiting Batch Normalization; Izmailov et al. 2018 do so after averaging
    weights). All batches have equal weight, whatever their size. Unlike in ``torch.optim.swa_utils.update_bn``, all
    other modules stay in evaluation mode. A model without batch normalisation is left as it is.

    Args:
        model: that was edited.
        batches: of the retain set, as ``collect`` takes them; best with at least 128 examples each, of all
            classes: a batch of one class has not the variance between classes.
        forward: calls the model on a batch; by default according to the batch's form.

    Raises:
        DataError: there is no batch, or one has a single value per channel, which has no variance. The statistics are
            then restored.
    """
    layers = _layers(model)
    if not layers:
        return model
    call = forward or default_forward(model, layers)
    momenta, device, read = {name: layer.momentum for name, layer in layers.items()}, device_of(model), 0
    before = _statistics(layers)
    with observing(model):
        try:
            for layer in layers.values():
                layer.reset_running_stats()
                layer.momentum = None  # the mean over batches
                layer.training = True
            for batch in batches:
                call(model, move(batch, device))
                read += 1
            if not read:
                raise DataError("there is no batch to read statistics from; give examples of the retain set")
        except BaseException as error:
            _restore(before)
            if isinstance(error, ValueError) and "more than 1 value per channel" in str(error):
                why = "a batch has one value per channel, which has no variance; give more examples"
                raise DataError(why) from error
            raise
        finally:
            for name, layer in layers.items():
                layer.momentum = momenta[name]
    return model


def has_batch_norm(model: nn.Module) -> bool:
    """Whether there is anything to recalibrate."""
    return bool(_layers(model))


@contextlib.contextmanager
def recalibrated(model: Model, batches: Iterable[Any], *, forward: Forward | None = None) -> Iterator[Model]:
    """The recalibrated model inside; its statistics are restored on leaving. Arguments as for ``recalibrate_``."""
    before = _statistics(_layers(model))
    try:
        yield recalibrate_(model, batches, forward=forward)
    finally:
        _restore(before)


def absorbed(
    model: nn.Module, batches: Iterable[Any], *, forward: Forward | None = None
) -> dict[str, Float[Tensor, "channels 2"]]:
    """What recalibration does in evaluation mode, as changes of scale and shift under the statistics as they are.

    An edit can carry these: ``(x − m′) g / s′ + b = (x − m) g′ / s + b′`` with ``g′ = g s / s′`` and
    ``b′ = b + (m − m′) g / s′``. Layers without scale and shift are left alone. Arguments as for ``recalibrate_``.
    """
    layers = {name: layer for name, layer in _layers(model).items() if layer.affine}
    before = {name: (_of(layer.running_mean), _of(layer.running_var)) for name, layer in layers.items()}
    found = {}
    with recalibrated(model, batches, forward=forward), torch.no_grad():
        for name, layer in layers.items():
            (mean, variance), weight = before[name], layer.weight.double()
            spread = (_of(layer.running_var) + layer.eps).sqrt()
            scale = weight * ((variance + layer.eps).sqrt() / spread - 1.0)
            found[name] = torch.stack([scale, (mean - _of(layer.running_mean)) * weight / spread], dim=1).float()
    return found


def _of(statistics: Tensor | None) -> Float[Tensor, " channels"]:
    """A copy in float64."""
    assert statistics is not None
    return statistics.double().clone()


def _layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """The layers with running statistics; layers without use those of each batch."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def _statistics(layers: dict[str, _BatchNorm]) -> list[tuple[Tensor, Tensor]]:
    """Each buffer with a copy of its content."""
    return [(buffer, buffer.clone()) for layer in layers.values() for buffer in layer.buffers(recurse=False)]


def _restore(statistics: list[tuple[Tensor, Tensor]]) -> None:
    for buffer, value in statistics:
        buffer.copy_(value)
