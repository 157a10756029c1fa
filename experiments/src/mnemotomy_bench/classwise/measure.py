"""Every number of the table for one unlearned model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import nn

from mnemotomy.core.errors import TrainingError
from mnemotomy.metrics.clustering import separability
from mnemotomy.metrics.dimensional_alignment import dimensional_alignment
from mnemotomy_bench.classwise.observing import see
from mnemotomy_bench.classwise.records import Measured
from mnemotomy_bench.classwise.relearning import relearn
from mnemotomy_bench.classwise.subject import Subject, View
from mnemotomy_bench.metrics.membership import membership_accuracy, membership_efficacy
from mnemotomy_bench.metrics.similarity import linear_cka
from mnemotomy_bench.metrics.tug_of_war import tug_of_war

NMI_DRAWS = 5


@dataclass(frozen=True)
class References:
    """What a model is compared with; for the original and the retrained model, those of another seed."""

    original: View
    retrained: View


def references(subject: Subject) -> References:
    """The models of the same seed, to compare methods with."""
    return References(subject.original_view, subject.retrained_view)


def measure(model: nn.Module, subject: Subject, against: References) -> Measured:
    """Accuracies, Tug-of-War, what is left in the features, membership inference and relearning.

    DA and NMI compare features of training examples to forget and retained; CKA those of the test set. Membership is
    read from losses: the forget set against test examples of its class (accuracy of an attack), and the share of the
    forget set that passes for unseen (efficacy).

    Raises:
        TrainingError: the model's outputs are not finite.
    """
    view, case = subject.view(model), subject.case
    if not (view.forget.is_finite and view.retain.is_finite and view.test.is_finite):
        raise TrainingError("the outputs are no longer finite; use a smaller learning rate or strength")
    forgotten = view.test.labels == case.forget
    own, others = view.test[forgotten], view.test[~forgotten]
    found = {
        "forget": view.accuracies.forget,
        "retain": view.accuracies.retain,
        "test": view.accuracies.test,
        "test_forget": own.accuracy,
        "test_retain": others.accuracy,
        "tow": tug_of_war(view.accuracies, against.retrained.accuracies),
        "da": dimensional_alignment(view.forget.features, view.retain.features),
        "nmi": separability(view.forget.features[: case.features], view.retain.features, draws=NMI_DRAWS),
        "cka_original": linear_cka(view.test.features, against.original.test.features),
        "cka_retrained": linear_cka(view.test.features, against.retrained.test.features),
        "membership_accuracy": membership_accuracy(view.forget.losses, own.losses),
        "membership_efficacy": membership_efficacy(view.retain.losses, others.losses, view.forget.losses),
    }
    taught = see(relearn(model, subject.problem.forget, case.relearning), subject.test)
    found |= {"relearned_forget": taught[forgotten].accuracy, "relearned_retain": taught[~forgotten].accuracy}
    return cast(Measured, found)
