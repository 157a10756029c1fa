"""What the engram methods have in common: moments of the two sets, one atlas, and erasing in rounds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

from torch import Tensor, nn

from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import collect
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.recalibrate import recalibrate_
from mnemotomy.errors import ConfigurationError
from mnemotomy.methods.classifier import head_of
from mnemotomy.methods.problem import Examples, Problem

FORGET, RETAIN = "forget", "retain"
PAPER = "Kwon et al. 2026, AI Engram: In Search of Memory Traces in Artificial Intelligence"


def atlas_of(model: nn.Module, problem: Problem, batch_size: int) -> Atlas:
    """The engrams of ``forget`` and ``retain`` in ``model``, at every layer: convolutions and the head too.

    The moments are those of evaluation mode, in which batch normalisation is a fixed affine map.
    """
    sets = ((FORGET, problem.forget), (RETAIN, problem.retain))
    batches = {name: inputs_of(examples, batch_size) for name, examples in sets}
    return Atlas(model, collect(model, batches, sites="all"))


def head_site(model: nn.Module, atlas: Atlas) -> str:
    """The name of the site that is the model's head."""
    head = head_of(model)
    return next(name for name, site in atlas.sites.items() if site.module is head)


def erase_in_rounds(
    problem: Problem,
    edit: Callable[[nn.Module, Atlas], Edit],
    rounds: int,
    batch_size: int,
    *,
    recalibrate: bool = False,
) -> nn.Module:
    """A copy of the problem's model, edited ``rounds`` times, with new moments of the edited model before each.

    Args:
        problem: what to forget.
        edit: the edit that erases, given the model as it is by then and its atlas.
        rounds: how often to collect and erase.
        batch_size: of all passes.
        recalibrate: read batch normalisation's running statistics again after each edit, from the examples to retain;
            else they stay as they are, a part of the network that the paper's estimator does not edit.
    """
    model = copy.deepcopy(problem.model).eval()
    for _ in range(rounds):
        edit(model, atlas_of(model, problem, batch_size)).apply_(model, check=False)
        if recalibrate:
            recalibrate_(model, inputs_of(problem.retain, batch_size))
    return model


def inputs_of(examples: Examples, batch_size: int) -> Iterator[Tensor]:
    """The inputs alone, batch by batch."""
    return (batch.inputs for batch in examples.batches(batch_size))


def check_rounds(rounds: int, batch_size: int) -> None:
    """Refuse to erase less than once.

    Raises:
        ConfigurationError: rounds or batch size are below 1.
    """
    if rounds < 1 or batch_size < 1:
        raise ConfigurationError(f"rounds and batch size are at least 1, not {rounds} and {batch_size}")
