"""Sufficiency: a class's engram alone, added to a network that knows nothing, and to one that never saw the class."""

from __future__ import annotations

import functools
import operator

from torch import nn

from mnemotomy.engram.criteria import null_state
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.recalibrate import recalibrated
from mnemotomy.methods.classifiers.engram import inputs_of
from mnemotomy.metrics.membership import loss_auc
from mnemotomy_bench.classwise.class_engrams import BATCH_SIZE, Anatomy
from mnemotomy_bench.classwise.observing import Seen, see
from mnemotomy_bench.lab.cells import Record


def sufficiency(anatomy: Anatomy, recalibrate: bool = False) -> Record:
    """By class into the null state, all classes together, and the forgotten class into the retrained network.

    ``auc``: how well the logit of the class ranks its test images above all others, 0.5 at chance; ``recall``:
    the accuracy on the class. A null state gives every class the same logit, so its recall is meaningless.

    Args:
        anatomy: of the original model.
        recalibrate: read batch normalisation's running statistics again for each state, from the training images that
            closed-form methods are given; otherwise those of the receiving network are kept.
    """
    subject, engrams = anatomy.subject, anatomy.engrams
    null = null_state(anatomy.model, anatomy.atlas)
    forgotten = subject.case.forget
    everything = functools.reduce(operator.add, engrams)

    def look(model: nn.Module) -> Seen:
        if not recalibrate:
            return see(model, subject.test)
        with recalibrated(model, inputs_of(subject.given, BATCH_SIZE)):
            return see(model, subject.test)

    def injected(edit: Edit, naive: nn.Module) -> Seen:
        with edit.on(naive, check=False):
            return look(naive)

    def by_class(naive: nn.Module, before: Seen, label: int) -> Record:
        states = {"before": before, "after": injected(engrams[label], naive)}
        scores = {when: _scores(seen, label) for when, seen in states.items()}
        return {"class": subject.class_names[label]} | {
            f"{name}_{when}": value for when, found in scores.items() for name, value in found.items()
        }

    empty, whole = look(null), injected(everything, null)
    return {
        "null_state": [by_class(null, empty, label) for label in range(subject.classes)],
        "retrained": by_class(subject.retrained, look(subject.retrained), forgotten),
        "original": {"class": subject.class_names[forgotten], **_scores(look(anatomy.model), forgotten)},
        "all_engrams": {
            "before": empty.accuracy, "after": whole.accuracy, "original": subject.original_view.test.accuracy,
        },
    }  # fmt: skip


def _scores(seen: Seen, label: int) -> dict[str, float]:
    own, logit = seen.labels == label, seen.logits[:, label]
    return {"auc": loss_auc(-logit[own], -logit[~own]), "recall": seen[own].accuracy}
