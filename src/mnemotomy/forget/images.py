"""Forgetting images in one call, the part that is about classifiers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from torch import nn

from mnemotomy.core.clock import Clock
from mnemotomy.core.errors import SelectionError
from mnemotomy.core.fingerprints import digest, fingerprint
from mnemotomy.core.keys import key
from mnemotomy.data.examples import Examples
from mnemotomy.data.image_sets import Source
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.sites import Selector, select_sites
from mnemotomy.engram.sites.linear import EmbeddingSite
from mnemotomy.forget.found import FORGET, RETAIN, Found, search, settings_of
from mnemotomy.forget.image_candidates import ImageWorkshop, recalibration_cost
from mnemotomy.forget.image_measuring import ImageJudge
from mnemotomy.forget.image_request import ImageRequest, image_request
from mnemotomy.forget.options import ForgetOptions
from mnemotomy.forget.search import LIMIT
from mnemotomy.methods.classifiers.engram import inputs_of
from mnemotomy.methods.classifiers.problem import Problem

ROWS = 64
"""Receptive fields of an image that a convolution's moments read: neighbours resemble each other."""


def forget_images(
    model: nn.Module, processor: Any, forget: Source, retain: Source | None, options: ForgetOptions
) -> Found[ImageRequest]:
    """Search among the edits of a classifier (``mnemotomy.forget``)."""
    model.eval()
    clock = Clock()
    request = image_request(model, processor, forget, retain, options.seed)
    sites, left_out = editable(model, options.sites)
    if left_out:
        what = f"{len(left_out)} grouped layers or embeddings, {left_out[0]} first"
        request = replace(request, notes=(*request.notes, f"{what}, are not edited"))
    clock.lap("prepare")
    two_sided = options.tries_two_sided(model, images=True)
    batches = {
        name: inputs_of(examples, options.batch_size)
        for name, examples in ((FORGET, request.forget), (RETAIN, request.retain))
    }
    moments = collect(
        model, batches, sites=sites, layers=options.layers,
        options=CollectOptions(rows=ROWS, progress=options.progress),
    )  # fmt: skip
    problem = Problem(model, request.forget, request.retain, len(request.names), seed=options.seed)
    cost = recalibration_cost(problem)
    if cost > LIMIT:
        note = (
            f"batch normalisation stays as it is: with the statistics of the retained images, the unedited model would "
            f"lose {100 * cost:.0f} points of their accuracy; they are of few classes, or unlike those of training"
        )
        request = replace(request, notes=(*request.notes, note))
    return search(
        request,
        moments,
        lambda: ImageJudge(request),
        lambda factored: ImageWorkshop(factored, problem, two_sided=two_sided, recalibrate=cost <= LIMIT),
        options,
        settings_of(options, "all" if options.sites is None else options.sites, two_sided=two_sided),
        clock,
        depends={
            "model": fingerprint(model),
            "forget set": key(_digests(request.forget), _digests(request.unseen)),
            "retain set": key(_digests(request.retain), _digests(request.checks)),
        },
    )


def editable(model: nn.Module, selector: Selector | None) -> tuple[Selector, list[str]]:
    """The selector of what can be edited, and the layers that by default are left alone: grouped, or embeddings.

    Raises:
        SelectionError: there is no layer to edit.
    """
    if selector is not None:
        return selector, []
    sites = select_sites(model, "all")
    fine = [name for name, site in sites.items() if site.groups == 1 and not isinstance(site, EmbeddingSite)]
    if not fine:
        raise SelectionError(f"{type(model).__name__} has no linear layer and no ungrouped convolution to edit")
    chosen: Selector = "all" if len(fine) == len(sites) else "|".join(map(re.escape, fine))
    return chosen, [name for name in sites if name not in set(fine)]


def _digests(examples: Examples) -> list[str]:
    return [digest(examples.inputs), digest(examples.labels)]
