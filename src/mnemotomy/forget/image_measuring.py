"""What a classifier still knows of a forget set, and what forgetting it cost, on images that are not in the moments."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.core.errors import DataError
from mnemotomy.data.examples import Examples
from mnemotomy.engram.edit import Edit
from mnemotomy.forget.image_request import ImageRequest
from mnemotomy.forget.scores import Details, Measure, Scores
from mnemotomy.methods.classifiers.classifier import HeadReading, head_of, read_head, reciprocal_ranks

_GOES = 5  # classes that the record names


class ImageJudge(Measure):
    """Compares any state of a classifier with the one before.

    ``left`` is the most that remains by any of four readings of the forget set: the accuracy; the mean probability of
    its class; its mean reciprocal rank above that on retained images, so that it is not the second choice; and the
    accuracy of the head as it was before on the features as they are. By the last, an edit of the head alone forgets
    nothing.

    Args:
        request: its model must not be edited yet.

    Raises:
        ModelError: the model has no linear head.
        DataError: it recognises none of the forget set.
    """

    def __init__(self, request: ImageRequest) -> None:
        self.model, self.request = request.model, request
        self.head = head_of(self.model, request.unseen)
        self.old = _copy(self.head)
        checks = self._read(request.checks)
        self._kept = checks.logits.double().log_softmax(-1)
        self._before = self._readings(checks)
        if self._before[0] == 0.0:
            raise DataError(
                "the model recognises none of the images to forget, so there is nothing to forget; check their labels"
            )
        self.before = self.scores()

    def scores(self) -> Scores:
        checks = self._read(self.request.checks)
        now, labels = self._readings(checks), self.request.checks.labels.cpu()
        left = max(min(1.0, one / before) for one, before in zip(now, self._before, strict=True) if before > 0.0)
        logs = checks.logits.double().log_softmax(-1)
        kl = float((self._kept.exp() * (self._kept - logs)).sum(-1).mean())
        kept, hits = _probability(logs, labels), _accuracy(logs, labels)
        return Scores(left, now[1], kept, hits, kl if math.isfinite(kl) else math.inf)

    def details(self, edit: Edit) -> Details:
        """Which classes the forgotten images kept apart are taken for, and how accurate each kept class is."""
        with edit.on(self.model, check=False):
            goes = self._read(self.request.unseen).logits.argmax(-1)
            kept = self._read(self.request.checks).logits.argmax(-1)
        names, labels = self.request.names, self.request.checks.labels.cpu()
        counts = goes.bincount(minlength=len(names))
        most = [int(one) for one in counts.argsort(descending=True)[:_GOES] if counts[one]]
        told = {
            "taken for": {names[one]: int(counts[one]) / len(goes) for one in most},
            "accuracy by class": {
                names[one]: float((kept == labels)[labels == one].double().mean()) for one in labels.unique().tolist()
            },
        }
        return Details(told)

    def _read(self, examples: Examples) -> HeadReading:
        return read_head(self.model, self.head, examples)

    def _readings(self, checks: HeadReading) -> tuple[float, float, float, float]:
        read, labels = self._read(self.request.unseen), self.request.unseen.labels.cpu()
        logs = read.logits.double().log_softmax(-1)
        others = checks.logits[~torch.isin(self.request.checks.labels.cpu(), labels)]
        elsewhere = labels[torch.arange(len(others)) % len(labels)]  # the same classes, asked of other images
        ranks = float(reciprocal_ranks(logs, labels).mean())
        if len(others):
            ranks -= float(reciprocal_ranks(others, elsewhere).mean())
        return _accuracy(logs, labels), _probability(logs, labels), ranks, _accuracy(self.old(read.inputs), labels)


def _copy(head: nn.Linear) -> nn.Linear:
    found = nn.Linear(head.in_features, head.out_features, bias=getattr(head, "bias", None) is not None)
    found.load_state_dict({name: value.detach().float().cpu() for name, value in head.state_dict().items()})
    return found.requires_grad_(False)


def _accuracy(found: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> float:
    return float((found.argmax(-1) == labels).double().mean())


def _probability(logs: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> float:
    return float(logs.gather(1, labels[:, None].long()).exp().mean())
