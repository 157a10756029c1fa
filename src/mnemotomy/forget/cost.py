"""What a search will take, estimated from shapes and counts before it starts."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.modules import device_of, observing
from mnemotomy.data.image_sets import most_images
from mnemotomy.data.images import Picture, prepared
from mnemotomy.engram.recalibrate import has_batch_norm
from mnemotomy.engram.sites import Selector, Site, select_sites
from mnemotomy.engram.sites.convolution import ConvolutionSite
from mnemotomy.forget.candidates import FILTERS, READ, Candidate, edited_sites, first
from mnemotomy.forget.image_candidates import READ as IMAGES_READ
from mnemotomy.forget.image_candidates import RECALIBRATED
from mnemotomy.forget.image_candidates import first as first_of_images
from mnemotomy.forget.image_request import KEPT_APART
from mnemotomy.forget.images import ROWS, editable
from mnemotomy.forget.request import MOST_FORGET
from mnemotomy.methods.classifiers.classifier import class_count
from mnemotomy.methods.classifiers.curvature import factored_sites
from mnemotomy.methods.classifiers.engram_automatic import ClassifierEngramAutomatic
from mnemotomy.methods.classifiers.two_sided import ClassifierTwoSided
from mnemotomy.methods.language.two_sided import TwoSided

TRIAL = 64
"""Tokens of the forward pass that tells a model's speed."""

_GIB = 2.0**30
_EIGH = 25.0  # operations of an eigendecomposition in float64, by the cube of the width
_PASSES, _PATIENCE = 6, 2.0  # passes to time, and the seconds after which two are enough
_FEW = 8  # images in one pass to time
_SQUARE = 512  # of a product that tells a processor's speed
_READ = 1000.0  # tokens of kept answers and general sentences that a trial reads
_MATRICES = 5.0  # of the shape of a weight: three gradients, of the first step too, and two directions
_TWO_SIDED = 0.25  # the share of proposed candidates that are two-sided edits, where these are tried
_AT_SUBJECTS = 10 / 3  # four sets in float64 and one more while it is summed, where a shape counts three in float32
_WRITING = 2.5  # tokens read in the time in which one is written, in a batch


@dataclass(frozen=True)
class Cost:
    """An estimate of what is needed besides the model's own weights.

    Attributes:
        moments: bytes for the second moments of both sets, and one factorisation in float64.
        factors: bytes for the thin factors of every site.
        two_sided: bytes for what two-sided edits share, and for one in progress.
        free: bytes that the device has left; None if unknown.
        seconds: in all, at the speed of a trial forward pass.
    """

    moments: float
    factors: float
    free: float | None
    seconds: float
    two_sided: float = 0.0

    @property
    def needed(self) -> float:
        """In all."""
        return self.moments + self.factors + self.two_sided

    def __str__(self) -> str:
        left = "" if self.free is None else f" of the {self.free / _GIB:.1f} GiB that are free"
        minutes = max(1, round(self.seconds / 60))
        return f"about {minutes} minute{'s' if minutes > 1 else ''} and {self.needed / _GIB:.1f} GiB of memory{left}"

    def check(self) -> None:
        """Refuse what does not fit.

        Raises:
            ConfigurationError: it names ways out.
        """
        if self.free is not None and self.needed > self.free:
            raise ConfigurationError(
                f"this needs {self}; edit fewer projections with --layers or --sites, load the model with --dtype "
                "bfloat16, or use a larger machine"
            )


def cost_of(
    model: nn.Module,
    forget_tokens: int,
    sites: Selector = "all-linear",
    layers: tuple[int, ...] | None = None,
    trials: int = 24,
    *,
    examples: int = 1,
    two_sided: bool = False,
    written: int = 0,
    subjects: Sequence[str] = (),
) -> Cost:
    """The memory of moments and factors, and the time of a search.

    A search of few trials edits, and so decomposes, only the sites of its first candidates.

    Args:
        model: loaded; it reads ``TRIAL`` tokens to tell its speed.
        forget_tokens: that enter the moments: the rank of the concept, at most.
        sites, layers: as for ``mnemotomy.collect``.
        trials: candidates to try.
        examples: that the tokens are of; each trial asks about ``MOST_FORGET`` at most.
        two_sided: whether the two-sided edit is tried.
        written: tokens that the model writes itself first, to retain.
        subjects: sites of edits at the subjects, for which the sets are read once more.
    """
    tried = first(two_sided, bool(subjects))[:trials]
    proposed = trials - len(tried)
    shape = _Shape.of(model, sites, layers, forget_tokens, None if proposed else tried)
    names = _Shape.of(model, list(subjects), None, examples) if subjects else _Shape((), 0.0, 0.0, 0.0)
    parameters = sum(one.numel() for one in model.parameters())
    ids = torch.zeros(1, TRIAL, dtype=torch.long, device=device_of(model))
    speed = 2.0 * parameters * TRIAL / pass_seconds(model, input_ids=ids)
    tokens = forget_tokens + 2.0 * max(shape.widths)
    mean = forget_tokens / examples
    # a token's second moments cost about as much as its forward pass; a trial reads what is kept apart
    read = (
        (4.0 if subjects else 2.0) * tokens
        + trials * (_READ + 3.0 * mean * min(examples, MOST_FORGET))
        + _WRITING * written
    )
    # forwards and backwards of the forget set and of as much of what is retained: once for all, and for each edit
    edits = sum(one.form == "two-sided" for one in tried) + (_TWO_SIDED * proposed if two_sided else 0.0)
    read += (edits + 1.0) * 3.0 * mean * (examples + READ) if edits else 0.0
    work = 2.0 * parameters * read + shape.eigen + names.eigen
    memory = two_sided_bytes(model, TwoSided().linear_sites(model)) if edits else 0.0
    moments = shape.moments + _AT_SUBJECTS * names.moments
    return Cost(moments, shape.factors + names.factors, free_memory(device_of(model)), work / speed, memory)


def cost_of_images(
    model: nn.Module,
    processor: Any,
    forget: Sequence[Picture],
    retain: Sequence[Picture],
    sites: Selector | None = None,
    layers: tuple[int, ...] | None = None,
    trials: int = 24,
    *,
    two_sided: bool = False,
) -> Cost:
    """The same for a classifier, which reads a few images to tell its speed; the images themselves need memory, too.

    Raises:
        DataError: the images cannot be read, or not by this model.
    """
    few = prepared(forget[:_FEW], processor, int(getattr(getattr(model, "config", None), "num_channels", 3)))
    class_count(model, few)
    sizes = len(forget), len(retain)
    share = min(1.0, most_images(few) / sum(sizes))
    forgotten, kept = (math.ceil(share * size) for size in sizes)
    shape = _Shape.of(model, editable(model, sites)[0], layers, ROWS * forgotten)
    seconds = pass_seconds(model, few.inputs.to(device_of(model))) / len(few)
    square = torch.randn(_SQUARE, _SQUARE)
    start = time.perf_counter()
    torch.mm(square, square)
    speed = 2.0 * _SQUARE**3 / max(time.perf_counter() - start, 1e-6)
    products = 2.0 * ROWS * (forgotten + kept) * sum(width**2 for width in shape.widths)
    read = images_read(forgotten, kept, trials, normalised=has_batch_norm(model), two_sided=two_sided)
    in_all = (products + shape.eigen) / speed + seconds * read
    pixels = (forgotten + kept) * few.inputs[0].numel() * few.inputs.element_size()
    memory = two_sided_bytes(model, factored_sites(model)) if two_sided else 0.0
    return Cost(shape.moments + pixels, shape.factors, free_memory(device_of(model)), in_all, memory)


def images_read(forget: int, retain: int, trials: int, *, normalised: bool, two_sided: bool) -> float:
    """Forward passes of one image in a search; a backward pass counts as two.

    Args:
        forget, retain: images of both sets.
        trials: candidates to try.
        normalised: whether batch normalisation follows each edit.
        two_sided: whether the two-sided edit is tried.
    """
    apart = KEPT_APART * (forget + retain)
    own, others = ((1.0 - KEPT_APART) * size for size in (forget, retain))
    trial = apart + (min(RECALIBRATED, others) if normalised else 0.0)
    own, others, collected = min(IMAGES_READ, own), min(IMAGES_READ, others), own + others
    automatic = ClassifierEngramAutomatic().tried * (own + (1 + normalised) * others)
    method, known = ClassifierTwoSided(), first_of_images(0.5)
    edits = sum(one.form == "two-sided" for one in known[:trials]) + _TWO_SIDED * max(0, trials - len(known))
    # margins, their gradient and the lengths of each step; the retain set's gradient from the second step on
    step = own * (1 + 3 + method.evaluations / 2) + 3 * others
    steps = edits * (method.steps * step - 3 * others) + own + 3 * others if two_sided and edits else 0.0
    return collected + apart + trials * trial + automatic + steps


def two_sided_bytes(model: nn.Module, sites: Mapping[str, Site]) -> float:
    """Both Kronecker factors of the sites with their inverses, gradients and directions, and a copy of the model.

    Layers that share an input count its factor each: it cannot be told from shapes that they share it.
    """
    shapes = [tuple(map(float, site.weight().shape)) for site in sites.values()]
    factors = sum(out**2 + width**2 for out, width in shapes)
    matrices = sum(out * width for out, width in shapes)
    copy = sum(one.numel() * one.element_size() for one in model.parameters())
    return 4.0 * (2.0 * factors + _MATRICES * matrices) + copy


@dataclass(frozen=True)
class _Shape:
    """What the shapes of the sites tell: bytes, and operations of the factorisations.

    Attributes:
        widths: of the distinct inputs; linear maps of one block and width share theirs.
    """

    widths: Sequence[int]
    moments: float
    factors: float
    eigen: float

    @classmethod
    def of(
        cls,
        model: nn.Module,
        sites: Selector,
        layers: tuple[int, ...] | None,
        rows: int,
        tried: Sequence[Candidate] | None = None,
    ) -> _Shape:
        """Of all sites, and of the factorisations that the candidates need, or all of them."""
        found = select_sites(model, sites, layers)
        blocks = {name: site.layer for name, site in found.items()}
        edited = (
            set(blocks)
            if tried is None
            else {
                name
                for one in tried
                if one.form in FILTERS and not one.subjects
                for name in (blocks if one.form == "weight-norm" else edited_sites(one, blocks))
            }
        )
        inputs, factored, factors = set[tuple[int | str | None, int]](), set[tuple[int | str | None, int]](), 0.0
        for name, site in found.items():
            out, width = map(int, site.weight().shape[-2:])
            read = (name if isinstance(site, ConvolutionSite) else site.layer, width)
            inputs.add(read)
            if name in edited:
                factored.add(read)
                factors += 4.0 * min(rows, width) * (2 * out + width)
        widths = [width for _, width in inputs]
        # two sets, the triangle alone, one more while a set is summed
        moments = sum(3 * 4.0 * width * (width + 1) / 2 for width in widths) + 6 * 8.0 * max(widths) ** 2
        return cls(widths, moments, factors, 2 * _EIGH * sum(width**3 for _, width in factored))


def pass_seconds(model: nn.Module, *args: torch.Tensor, **arguments: torch.Tensor) -> float:
    """The time of a forward pass: the lower median of several.

    Other work slows a single pass down many times over, so their mean is no measure; but on a machine that is busy
    throughout, the search is slowed down too, and the fastest pass is too short.
    """
    found = list[float]()
    with observing(model):
        while (len(found) < _PASSES and sum(found) < _PATIENCE) or len(found) < 2:
            start = time.perf_counter()
            model(*args, **arguments)
            if device_of(model).type == "cuda":
                torch.cuda.synchronize()
            found.append(time.perf_counter() - start)
    return max(statistics.median_low(found), 1e-6)


def free_memory(device: torch.device) -> float | None:
    """Bytes that can still be allocated; None if unknown."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    found = _meminfo()
    if "MemAvailable" in found:
        return found["MemAvailable"]
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return None


def _meminfo() -> Mapping[str, float]:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            rows = (line.split() for line in file)
            return {row[0].rstrip(":"): 1024.0 * float(row[1]) for row in rows if len(row) >= 2}
    except (OSError, ValueError):
        return {}
