"""Engram layer by layer: a projection's inputs are collected again once all before it are edited."""

from __future__ import annotations

import copy

from torch import nn

from mnemotomy.core.progress import progress_bar
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.cut import RelativeCut
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.sites import sites_by_name
from mnemotomy.engram.strength import erase
from mnemotomy.methods.base import OURS
from mnemotomy.methods.language.closed_form import ClosedForm
from mnemotomy.methods.language.collecting import FORGET, RETAIN
from mnemotomy.methods.language.engram import projector, share_of
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.propagation import Stream, forward_state, local_names, stages
from mnemotomy.methods.registry import register


@register(
    "engram-layerwise",
    "Engram (layer by layer)",
    OURS,
    cost="6 forward passes of both sets, without the output head",
    grid={"strength": (0.4, 0.6, 0.8, 1.0, 1.5, 2.0)},
    small={"strength": (0.6, 1.0, 2.0)},
)
class EngramLayerwise(ClosedForm):
    """Eq. 4 at one input after another, in the order of the forward pass, on freshly propagated activations.

    Edited all at once, every layer is edited for its old inputs, and erasure adds up over the depth. Here a layer sees
    only what the edits before it have left.

    Attributes:
        strength: α.
        excess: erase with the projector on ``μ > n⁺/N + excess · (1 − n⁺/N)`` instead of with μ.
        together: edit a block's projections at once, instead of q, k, v before o, and o before gate and up.
        rounds: how often each edit is repeated before the next.

    Raises:
        ModelError: the model's blocks do not run one after another.
    """

    strength: float = 0.6
    excess: float | None = None
    together: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.excess is not None:
            projector(self.excess, 0.5)  # checks it

    def __call__(self, problem: TextProblem) -> nn.Module:
        model = copy.deepcopy(problem.model).eval()
        inside, outside = local_names(model, self.site_names(model))
        sets = dict(self.batches(problem))
        streams = {name: Stream(model, batches) for name, batches in sets.items()}
        with progress_bar(self.name, len(inside)) as advance:
            for names in inside:
                if names:
                    self._edit_block(streams, names)
                for stream in streams.values():
                    stream.advance()
                advance(1)
        for _ in range(self.rounds if outside else 0):
            moments = collect(model, sets, sites=outside)
            self._edit_of(self.atlas(model, moments)).apply_(model, check=False, tied="untie")
        return model

    def _edit_of(self, atlas: Atlas) -> Edit:
        chosen = None if self.excess is None else projector(self.excess, share_of(atlas))
        return erase(atlas, FORGET, self.strength, chosen)

    def _edit_block(self, streams: dict[str, Stream], names: list[str]) -> None:
        block = streams[RETAIN].block
        order = stages(lambda: streams[RETAIN].run(0), sites_by_name(block, names))
        options = CollectOptions(forward=forward_state, progress=False)
        for stage in [names] if self.together else order:
            for _ in range(self.rounds):
                batches = {name: stream.batches() for name, stream in streams.items()}
                moments = collect(block, batches, sites=stage, options=options)
                self._edit_of(Atlas(block, moments, RelativeCut(self.cut))).apply_(block, check=False)
