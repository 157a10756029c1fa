"""Sufficiency: a class's engram alone, put into a network that knows nothing, and into one that never saw the class."""

from __future__ import annotations

import functools
import operator
from typing import Any

from torch import nn

from mnemotomy.bench.classwise.anatomy import BATCH_SIZE, Anatomy
from mnemotomy.bench.classwise.observing import Seen, see
from mnemotomy.engram.criteria import null_state
from mnemotomy.engram.criteria import sufficiency as injected
from mnemotomy.engram.recalibrate import recalibrated
from mnemotomy.methods.erasure import inputs_of
from mnemotomy.metrics.membership import loss_auc

Record = dict[str, Any]


def sufficiency(anatomy: Anatomy, recalibrate: bool = False) -> Record:
    """By class into the null state, all classes together, and the forgotten class into the retrained network.

    ``auc``: how well the logit of the class ranks its test images above all others, 0.5 where it cannot; ``recall``:
    the accuracy on the class. A null state gives every class the same logit, so that its recall says nothing.

    Args:
        anatomy: of the original model.
        recalibrate: read batch normalisation's running statistics again for each state, from the training images that
            engrams were collected from; else they are those of the network that is injected into.
    """
    subject, engrams = anatomy.subject, anatomy.engrams
    null = null_state(anatomy.model, anatomy.atlas)
    forgotten = subject.case.forget
    everything = functools.reduce(operator.add, engrams)

    def look(model: nn.Module) -> Seen:
        if not recalibrate:
            return see(model, subject.test)
        with recalibrated(model, inputs_of(subject.collected, BATCH_SIZE)):
            return see(model, subject.test)

    def score(model: nn.Module, label: int) -> dict[str, float]:
        seen = look(model)
        own, logit = seen.labels == label, seen.logits[:, label]
        return {"auc": loss_auc(-logit[own], -logit[~own]), "recall": seen[own].accuracy}

    def both(naive: nn.Module, label: int) -> Record:
        states: list[dict[str, float]] = []

        def scored(model: nn.Module) -> float:
            states.append(score(model, label))
            return states[-1]["auc"]

        injected(engrams[label], naive, scored)
        before, after = states
        return {
            "class": subject.class_names[label],
            **{f"{name}_before": value for name, value in before.items()},
            **{f"{name}_after": value for name, value in after.items()},
        }

    empty, whole = injected(everything, null, lambda model: look(model).accuracy)
    return {
        "null_state": [both(null, label) for label in range(subject.classes)],
        "retrained": both(subject.retrained, forgotten),
        "original": {"class": subject.class_names[forgotten], **score(anatomy.model, forgotten)},
        "all_engrams": {"before": empty, "after": whole, "original": subject.original_view.test.accuracy},
    }
