"""Questions about a loaded model, and states to use it in: ties, device, window, modes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from mnemotomy.core.errors import ModelError


def tied_parameters(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Parameters that more than one module reads: each name mapped to all names of the same memory.

    A module that is called in several places is one reader: a site sees all its calls. A parameter that is a view of
    another, such as ``nn.Parameter(other.detach())``, is tied to it.
    """
    places: list[tuple[Any, int, int, str]] = []
    for path, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            places.append((*_memory_of(parameter), f"{path}.{leaf}".lstrip(".")))
    order = {name: number for number, (*_, name) in enumerate(places)}
    groups: list[list[str]] = []
    storage, end = None, 0
    for place, start, stop, name in sorted(places, key=lambda one: (str(one[0]), one[1])):
        if place == storage and start < end:
            groups[-1].append(name)
        else:
            groups.append([name])
        storage, end = place, stop if place != storage else max(end, stop)
    tied = (tuple(sorted(group, key=order.__getitem__)) for group in groups if len(group) > 1)
    return dict(sorted(((name, group) for group in tied for name in group), key=lambda one: order[one[0]]))


def _memory_of(parameter: nn.Parameter) -> tuple[Any, int, int]:
    """The storage and the bytes that the parameter takes of it; the parameter itself if it has no storage."""
    storage = parameter.untyped_storage()
    if parameter.device.type == "meta" or storage.data_ptr() == 0 or not parameter.numel():
        return ("object", id(parameter)), 0, 1
    start = int(parameter.storage_offset()) * parameter.element_size()
    last = sum((int(size) - 1) * int(step) for size, step in zip(parameter.shape, parameter.stride(), strict=True))
    return (str(parameter.device), storage.data_ptr()), start, start + (last + 1) * parameter.element_size()


def untie(model: nn.Module, name: str) -> None:
    """Give every reader of the parameter ``name`` its own tensor.

    In a transformers model, one flag of the configuration ties everything that is tied: the flag is cleared and every
    tied parameter is separated, so that a saved model loads as it was.
    """
    tied = tied_parameters(model)
    configured = [module for module in model.modules() if hasattr(module, "config")]
    groups = set(tied.values()) if configured else {tied.get(name, ())}
    for reader in (reader for group in groups for reader in group[1:]):
        owner, _, leaf = reader.rpartition(".")
        module = model.get_submodule(owner)
        parameter = cast(nn.Parameter, getattr(module, leaf))
        setattr(module, leaf, nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad))
    for module in configured:
        for config in (module.config, _text_config(module.config)):
            if getattr(config, "tie_word_embeddings", False):
                cast(Any, config).tie_word_embeddings = False
        if hasattr(module, "all_tied_weights_keys"):  # read by transformers' save_pretrained
            cast(Any, module).all_tied_weights_keys = {}


def blocks_by_name(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a model in order, by name: the longest list of modules that is not inside another list.

    Lists inside blocks, such as lists of experts, may be longer.

    Raises:
        ModelError: there is no list of modules.
    """
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no list of blocks; name the module, or edit the whole model at once"
        )
    name = max(found, key=lambda one: len(found[one]))
    return {f"{name}.{index}": block for index, block in enumerate(found[name])}


def device_of(model: nn.Module) -> torch.device:
    """The device of the first parameter (cpu for a model without any)."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


@contextlib.contextmanager
def observing(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each module's own training flag is restored on leaving."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        # not in inference_mode, not even the caller's: buffers that the model caches inside must stay trainable
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for module, training in flags:
            module.training = training


@contextlib.contextmanager
def keeping_flags(model: nn.Module) -> Iterator[None]:
    """Restore on leaving which parameters require gradients; an adapter freezes all but its own."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def window_of(model: nn.Module) -> int | None:
    """The largest number of tokens that the model reads, if its configuration says."""
    config = _text_config(getattr(model, "config", None))
    found: int | None = getattr(config, "max_position_embeddings", None)
    return found


@contextlib.contextmanager
def within_window(model: nn.Module) -> Iterator[None]:
    """Turn torch's index error on a text with more tokens than the model has positions into a clear one.

    Raises:
        ModelError: a forward pass on a CPU was given such a text.
    """
    try:
        yield
    except IndexError as error:
        if window_of(model) is None:
            raise
        raise _too_long(model) from error


def check_window(model: nn.Module, tokens: int) -> None:
    """Refuse a text beyond the model's window, which models with rotary positions would read without an error.

    Raises:
        ModelError: it has more tokens.
    """
    window = window_of(model)
    if window is not None and tokens > window:
        raise _too_long(model)


def _too_long(model: nn.Module) -> ModelError:
    named = type(model).__name__
    return ModelError(f"a text is longer than the {window_of(model)} tokens that {named} reads; shorten it")


def _text_config(config: Any) -> Any:
    get = getattr(config, "get_text_config", None)
    return get() if callable(get) else config
