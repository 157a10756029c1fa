"""Delta weights as in Case 2 of Appendix G: layer by layer, towards what the pretrained model computes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError, SelectionError
from mnemotomy.core.modules import blocks_by_name, device_of, observing, tied_parameters, untie
from mnemotomy.core.progress import progress_bar
from mnemotomy.engram.cut import RelativeCut
from mnemotomy.engram.edit import check_finite
from mnemotomy.engram.factorise import factorise
from mnemotomy.engram.forward import default_forward, move
from mnemotomy.engram.sites import Site, parameter_names, sites_by_name
from mnemotomy.methods.base import OURS
from mnemotomy.methods.language.collecting import FORGET, RETAIN, Collecting
from mnemotomy.methods.language.delta import pretrained_of
from mnemotomy.methods.language.problem import LanguageMethod, TextProblem
from mnemotomy.methods.language.propagation import Stream, local_names, readings, stages
from mnemotomy.methods.registry import register
from mnemotomy.text.batches import Batch
from mnemotomy.text.encoding import IGNORED

Inputs = Callable[[int], Float[Tensor, "*rows d"]]
"""A site's input for a batch, by the batch's number."""


class PairedMoment(NamedTuple):
    """Sums over tokens in float64, with rows extended by 1.

    Attributes:
        second: ``XᵀX`` of the site's own input.
        cross: ``X*ᵀX`` with the other model's input X*.
    """

    second: Float[Tensor, "d d"]
    cross: Float[Tensor, "d d"]

    def of(self, site: Site) -> PairedMoment:
        """The moment for ``site``: without the extension where it has no bias."""
        return self if site.has_bias else PairedMoment(self.second[:-1, :-1], self.cross[:-1, :-1])


def paired_moment(own: Inputs, other: Inputs | None, labels: Sequence[Tensor]) -> PairedMoment:
    """Sum over the labelled tokens.

    Args:
        own: X.
        other: X*; None for X itself.
        labels: ``[batch, length]`` of each batch.
    """
    second, cross = torch.zeros(()), torch.zeros(())
    for index, marked in enumerate(labels):
        counted = marked != IGNORED
        rows = _extended(own(index), counted)
        gram = rows.mT @ rows
        second = second + gram.double()
        cross = cross + (gram if other is None else _extended(other(index), counted).mT @ rows).double()
    return PairedMoment(second, cross)


def _extended(states: Float[Tensor, "*rows d"], counted: Tensor) -> Float[Tensor, "n d1"]:
    rows = states.flatten(0, -2)[counted.flatten().to(states.device)].float()  # OPT's blocks have flattened them
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)


@dataclass(frozen=True)
class _View:
    """A model, or one of its blocks, with one set to run it on.

    Attributes:
        root: the model or the block.
        run: it on the batch with that number.
        labels: of each batch.
    """

    root: nn.Module
    run: Callable[[int], Any]
    labels: Sequence[Tensor]

    def inputs(self, name: str) -> Inputs:
        """The inputs of the site with that name."""
        sites = sites_by_name(self.root, [name])

        def rows(index: int) -> Float[Tensor, "*rows d"]:
            _, seen = readings(lambda: self.run(index), sites)[0]
            return seen.layout.rows(seen.tensor)

        return rows


@register(
    "delta-sequential",
    "Delta weights (sequential)",
    OURS,
    family="closed form",
    cost="6 forward passes of both sets, and as many of the forget set by the pretrained model",
    needs=("pretrained",),
    grid={"strength": (0.5, 1.0, 2.0), "restore": (False, True)},
    small={"strength": (0.5, 1.0, 2.0)},
)
class DeltaSequential(Collecting, LanguageMethod):
    """``W_new = (V* X⁺ᵀ + W₂ Σ⁻)(Σ⁺ + Σ⁻)†`` with ``V* = W₁ X*`` (Eq. 32), one input after another.

    ``W_new`` minimises ``‖W X⁺ − V*‖² + ‖W X⁻ − W₂ X⁻‖²``. X⁺ and X⁻ are the layer's inputs after the edits before it,
    W₂ is its own weight, W₁ the pretrained one, and X* the pretrained model's input there for the tokens of X⁺. So V*
    needs no search: both models are forwarded side by side, and ``V* X⁺ᵀ = W₁ C`` with the cross-moment ``C = X* X⁺ᵀ``
    (examples as columns). As a difference, ``ΔW = α (W₁ C − W₂ Σ⁺)(Σ⁺ + Σ⁻)†``; it keeps W₂ where the pseudoinverse is
    cut, and at α = 1 equals Eq. 32 elsewhere. What one layer leaves undone reaches the next one's inputs through the
    residual stream.

    Attributes:
        strength: α; below 1, V* lies between the outputs of the model and of the pretrained one.
        targets: ``pretrained`` for X* of the pretrained model; ``prefix`` for X* = X⁺, the naive ΔW on propagated
            activations.
        restore: pull the retained tokens to the unedited model's outputs ``W₂ X₀⁻``, instead of W₂'s outputs for the
            inputs that the earlier edits have left.
        cut: directions of Σ_total below ``cut · λ_max`` are not edited.

    Raises:
        ConfigurationError: the problem has no pretrained model, or a value is out of range.
        SelectionError: the pretrained model has other shapes.
        ModelError: the model's blocks do not run one after another.
    """

    strength: float = 1.0
    targets: Literal["pretrained", "prefix"] = "pretrained"
    restore: bool = False
    cut: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        RelativeCut(self.cut)  # checks itself
        if self.targets not in ("pretrained", "prefix"):
            raise ConfigurationError(f"targets are 'pretrained' or 'prefix', not {self.targets!r}")
        if not math.isfinite(self.strength):
            raise ConfigurationError(f"strength is a finite number, not {self.strength}")

    def __call__(self, problem: TextProblem) -> nn.Module:
        pretrained = pretrained_of(problem, self.name)
        model = copy.deepcopy(problem.model).eval()
        inside, outside = local_names(model, self.site_names(model))
        if tied_parameters(model).keys() & _parameters(model, outside):
            untie(model, next(iter(_parameters(model, outside))))
        sets = dict(self.batches(problem))
        models: dict[str, nn.Module] = {}  # by set, where targets come from another model
        if self.targets == "pretrained":
            models[FORGET] = pretrained
        if self.restore:
            models[RETAIN] = problem.model
        own = {name: Stream(model, batches) for name, batches in sets.items()}
        aims = {name: Stream(aim, sets[name]) for name, aim in models.items()}
        with progress_bar(self.name, len(inside)) as advance:
            for names, base in zip(inside, blocks_by_name(pretrained).values(), strict=True):
                if names:
                    self._edit_block(names, base, own, aims)
                for stream in (*own.values(), *aims.values()):
                    stream.advance()
                advance(1)
        if outside:
            views = {name: _of_model(model, batches, outside) for name, batches in sets.items()}
            aimed = {name: _of_model(aim, sets[name], outside) for name, aim in models.items()}
            for stage in stages(lambda: views[FORGET].run(0), sites_by_name(model, outside)):
                self._edit(stage, pretrained, views, aimed)
        return model

    def _edit_block(
        self, names: Sequence[str], base: nn.Module, own: Mapping[str, Stream], aims: Mapping[str, Stream]
    ) -> None:
        """Edit the sites of the streams' current block, those that read one input together."""
        views, aimed = (
            {name: _View(stream.block, stream.run, stream.labels) for name, stream in streams.items()}
            for streams in (own, aims)
        )
        for stage in stages(lambda: own[FORGET].run(0), sites_by_name(own[FORGET].block, names)):
            self._edit(stage, base, views, aimed)

    def _edit(self, names: Sequence[str], base: nn.Module, own: Mapping[str, _View], aims: Mapping[str, _View]) -> None:
        """Edit sites that read one input.

        Args:
            names: of the sites, the same in the views and in ``base``.
            base: the pretrained model or block.
            own: both sets on the edited model.
            aims: sets whose targets come from another model, on that model.
        """
        forget, retain = (
            paired_moment(
                own[name].inputs(names[0]),
                aims[name].inputs(names[0]) if name in aims else None,
                own[name].labels,
            )
            for name in (FORGET, RETAIN)
        )
        pretrained = sites_by_name(base, names)
        for name, site in sites_by_name(own[FORGET].root, names).items():
            weight, before = site.weight(), pretrained[name].weight()
            if weight.shape != before.shape:
                raise SelectionError(
                    f"site {name!r} has another shape in the pretrained model; give the one that was fine-tuned"
                )
            delta = self.delta(weight, before, forget.of(site), retain.of(site))
            check_finite(name, delta)
            site.add_(delta)

    def delta(
        self,
        weight: Float[Tensor, "out d"],
        pretrained: Float[Tensor, "out d"],
        forget: PairedMoment,
        retain: PairedMoment,
    ) -> Float[Tensor, "out d"]:
        """``ΔW = [α (W₁ C⁺ − W₂ Σ⁺) + W₂ (C⁻ − Σ⁻)] (Σ⁺ + Σ⁻)†``; C⁻ = Σ⁻ without ``restore``.

        Args:
            weight: W₂.
            forget: Σ⁺ and C⁺.
            retain: Σ⁻ and C⁻.
        """
        own, before = weight.double(), pretrained.to(weight.device).double()
        pull = self.strength * (before @ forget.cross - own @ forget.second) + own @ (retain.cross - retain.second)
        spectrum = factorise(forget.second + retain.second, RelativeCut(self.cut), torch.float64)
        return spectrum.times_inverse(pull, 0.0).float()


def _of_model(model: nn.Module, batches: Sequence[Batch], names: Sequence[str]) -> _View:
    forward = default_forward(model, names)

    def run(index: int) -> Any:
        batch = {key: value for key, value in batches[index].items() if key != "labels"}
        with observing(model):
            return forward(model, move(batch, device_of(model)))

    return _View(model, run, [batch["labels"] for batch in batches])


def _parameters(model: nn.Module, names: Sequence[str]) -> set[str]:
    return {name for site in sites_by_name(model, names).values() for name in parameter_names(model, site)}
