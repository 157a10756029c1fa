"""Delta weights as Case 2 of Appendix G asks for: layer by layer, towards what the pretrained model computes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError, SelectionError
from mnemotomy.core.modules import blocks_by_name, device_of, observing, tied_parameters, untie
from mnemotomy.core.progress import progress_bar
from mnemotomy.engram.cut import RelativeCut
from mnemotomy.engram.edit import check_finite
from mnemotomy.engram.forward import default_forward, move
from mnemotomy.engram.sites import Reading, Site, parameter_names, sites_by_name
from mnemotomy.engram.spectrum import factorise
from mnemotomy.methods.base import OURS, Family, SearchSpace
from mnemotomy.methods.language.collecting import FORGET, RETAIN, Collecting
from mnemotomy.methods.language.delta import pretrained_of
from mnemotomy.methods.language.problem import LanguageMethod, TextProblem
from mnemotomy.methods.language.propagation import Stream, local_names, stages
from mnemotomy.methods.registry import register
from mnemotomy.text.batches import Batch
from mnemotomy.text.encoding import IGNORED

Inputs = Callable[[int], Float[Tensor, "*rows d"]]
"""Of a batch by its number: what a site reads."""


class PairedMoment(NamedTuple):
    """Sums over tokens in float64, of rows extended by 1.

    Attributes:
        second: ``XᵀX`` of the site's own input.
        cross: ``X*ᵀX`` with the other model's input X*.
    """

    second: Float[Tensor, "d d"]
    cross: Float[Tensor, "d d"]

    def of(self, site: Site) -> PairedMoment:
        """Without the extension where the site has no bias."""
        return self if site.has_bias else PairedMoment(self.second[:-1, :-1], self.cross[:-1, :-1])


def paired_moment(own: Inputs, other: Inputs | None, labels: Sequence[Tensor]) -> PairedMoment:
    """Sum over the tokens that have a label.

    Args:
        own: X.
        other: X*; X itself where there is none.
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


def input_of(site: Site, run: Callable[[], Any]) -> Float[Tensor, "*rows d"]:
    """What ``site`` reads while ``run`` runs its model."""
    seen: list[Reading] = []
    handles = site.attach(lambda name, reading: seen.append(reading))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return seen[0].layout.rows(seen[0].tensor)


def _extended(states: Float[Tensor, "*rows d"], counted: Tensor) -> Float[Tensor, "n d1"]:
    rows = states.flatten(0, -2)[counted.flatten().to(states.device)].float()  # OPT's blocks flatten them themselves
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)


@dataclass(frozen=True)
class _View:
    """One set as a model, or one block of it, is run on it.

    Attributes:
        root: the model or the block.
        run: on the batch of that number.
        labels: of each batch.
    """

    root: nn.Module
    run: Callable[[int], Any]
    labels: Sequence[Tensor]

    def inputs(self, name: str) -> Inputs:
        """What the site of that name reads."""
        site = sites_by_name(self.root, [name])[name]
        return lambda index: input_of(site, lambda: self.run(index))


@register
@dataclass(frozen=True)
class DeltaSequential(Collecting, LanguageMethod):
    """``W_new = (V* X⁺ᵀ + W₂ Σ⁻)(Σ⁺ + Σ⁻)†`` with ``V* = W₁ X*`` (Eq. 32), one input after the other.

    ``W_new`` minimises ``‖W X⁺ − V*‖² + ‖W X⁻ − W₂ X⁻‖²``, where X⁺ and X⁻ are what the layer reads behind the layers
    edited before it, W₂ is its own weight, W₁ the pretrained one and X* what the pretrained model reads there for the
    tokens of X⁺. So V* needs no search: both models are forwarded side by side, and ``V* X⁺ᵀ = W₁ C`` with the
    cross-moment ``C = X* X⁺ᵀ`` (examples as columns). As a difference, ``ΔW = α (W₁ C − W₂ Σ⁺)(Σ⁺ + Σ⁻)†``, which
    leaves W₂ as it is where the pseudoinverse is cut, and at α = 1 is Eq. 32 everywhere else. The residual stream
    carries what one layer leaves undone on to the next, whose inputs then show it.

    Attributes:
        strength: α; below 1, V* lies between what the model computes and what the pretrained one does.
        targets: ``pretrained`` for X* of the pretrained model; ``prefix`` for X* = X⁺, with which ΔW is that of the
            naive form, on propagated activations.
        restore: draw the retained tokens to what the unedited model computes for them, ``W₂ X₀⁻``, rather than to what
            W₂ makes of what the edits before have left of X₀⁻.
        cut: directions of Σ_total below ``cut · λ_max`` are left as they are.

    Raises:
        ConfigurationError: the problem has no pretrained model, or a value is out of its range.
        SelectionError: the pretrained model is of another shape.
        ModelError: the model has no blocks that run one after the other.
    """

    strength: float = 1.0
    targets: Literal["pretrained", "prefix"] = "pretrained"
    restore: bool = False
    cut: float = 1e-6

    name: ClassVar = "delta-sequential"
    title: ClassVar = "Delta weights (sequential)"
    paper: ClassVar = OURS
    family: ClassVar[Family] = "closed form"
    cost: ClassVar = "6 forward passes of both sets, and as many of the forget set by the pretrained model"
    needs: ClassVar = ("pretrained",)
    search_space: ClassVar = SearchSpace(
        {"strength": (0.5, 1.0, 2.0), "restore": (False, True)}, small={"strength": (0.5, 1.0, 2.0)}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        RelativeCut(self.cut)  # its own check, before any work is done
        if self.targets not in ("pretrained", "prefix"):
            raise ConfigurationError(f"targets are 'pretrained' or 'prefix', not {self.targets!r}")
        if not math.isfinite(self.strength):
            raise ConfigurationError(f"a strength is a finite number, not {self.strength}")

    def __call__(self, problem: TextProblem) -> nn.Module:
        pretrained = pretrained_of(problem, self.name)
        model = copy.deepcopy(problem.model).eval()
        inside, outside = local_names(model, self.site_names(model))
        if tied_parameters(model).keys() & _parameters(model, outside):
            untie(model, next(iter(_parameters(model, outside))))
        sets = dict(self.batches(problem))
        models = {name: aim for name, aim in self._aims(problem, pretrained).items() if aim is not None}
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

    def _aims(self, problem: TextProblem, pretrained: nn.Module) -> dict[str, nn.Module | None]:
        """By set, the model whose own inputs the targets are computed from; none where they are the edited model's."""
        return {
            FORGET: pretrained if self.targets == "pretrained" else None,
            RETAIN: problem.model if self.restore else None,
        }

    def _edit_block(
        self, names: Sequence[str], base: nn.Module, own: Mapping[str, Stream], aims: Mapping[str, Stream]
    ) -> None:
        """Edit the sites of the block that the streams stand in front of, those that read one input together."""
        views, aimed = ({name: _of_block(stream) for name, stream in streams.items()} for streams in (own, aims))
        for stage in stages(lambda: own[FORGET].run(0), sites_by_name(own[FORGET].block, names)):
            self._edit(stage, base, views, aimed)

    def _edit(self, names: Sequence[str], base: nn.Module, own: Mapping[str, _View], aims: Mapping[str, _View]) -> None:
        """Edit sites that read one input.

        Args:
            names: of the sites, in the views' models as in ``base``.
            base: where the pretrained weights are.
            own: both sets in the model that is edited.
            aims: those whose targets come from another model, in that one.
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
                raise SelectionError(f"site {name!r} has another shape in the pretrained model")
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
        """``ΔW = [α (W₁ C⁺ − W₂ Σ⁺) + W₂ (C⁻ − Σ⁻)] (Σ⁺ + Σ⁻)†``; C⁻ = Σ⁻ where nothing is to be restored.

        Args:
            weight: W₂.
            pretrained: W₁.
            forget: Σ⁺ and C⁺.
            retain: Σ⁻ and C⁻.
        """
        own, before = weight.double(), pretrained.to(weight.device).double()
        pull = self.strength * (before @ forget.cross - own @ forget.second) + own @ (retain.cross - retain.second)
        spectrum = factorise(forget.second + retain.second, RelativeCut(self.cut), torch.float64)
        return spectrum.times_inverse(pull, 0.0).float()


def _of_block(stream: Stream) -> _View:
    return _View(stream.block, stream.run, stream.labels)


def _of_model(model: nn.Module, batches: Sequence[Batch], names: Sequence[str]) -> _View:
    forward = default_forward(model, names)

    def run(index: int) -> Any:
        batch = {key: value for key, value in batches[index].items() if key != "labels"}
        with observing(model):
            return forward(model, move(batch, device_of(model)))

    return _View(model, run, [batch["labels"] for batch in batches])


def _parameters(model: nn.Module, names: Sequence[str]) -> set[str]:
    return {name for site in sites_by_name(model, names).values() for name in parameter_names(model, site)}
