"""What an engram does to held-out faces: the slider, the other attributes, identity, and the exact truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.engram.edit import Edit
from mnemotomy_bench.generative.faces.cases import ALPHAS
from mnemotomy_bench.generative.faces.reading import Reading, reading_quality
from mnemotomy_bench.generative.faces.subject import FaceSubject, covered
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.metrics.attributes import reading_change, slider
from mnemotomy_bench.metrics.identity import pixel_errors

AMPLIFIED, UNTOUCHED, ERASED = ALPHAS[0], 0.0, 1.0


def measure(subject: FaceSubject, engrams: Sequence[Edit]) -> Record:
    """One record per attribute, and their mean; ``curves`` contains the readings by α.

    Args:
        subject: whose test faces are edited.
        engrams: of each attribute, in the case's order.
    """
    found = {name: _measure_one(subject, place, engrams[place]) for place, name in enumerate(subject.case.attributes)}
    curves = {name: one.pop("curves") for name, one in found.items()}
    return {**mean_record(list(found.values())), "attributes": found, "curves": curves}


def _measure_one(subject: FaceSubject, place: int, engram: Edit) -> Record:
    faces = subject.test.having(place)
    drawn = {alpha: subject.draw(faces.images, -alpha * engram if alpha else None) for alpha in ALPHAS}
    readings = {alpha: subject.read(images) for alpha, images in drawn.items()}
    slid = slider(torch.stack([readings[alpha].logits[:, place] for alpha in ALPHAS]), ALPHAS)
    record = _readings(readings, place) | {
        "rank_correlation": slid.rank_correlation,
        "monotone": slid.monotone,
        "falling": slid.falling,
    }
    others = subject.test.having(place, False).images
    change = subject.draw(others, -ERASED * engram) - subject.draw(others)
    record["bystanders"] = float(change.square().mean())
    truth = subject.truth("test", place)
    if truth is not None:
        record |= _distances(drawn[UNTOUCHED], drawn[ERASED], subject.draw(truth), faces.images, truth)
    probabilities = torch.stack([readings[alpha].probabilities.mean(0) for alpha in ALPHAS])
    record["curves"] = {
        "probability": {name: probabilities[:, k].tolist() for k, name in enumerate(subject.case.attributes)},
        "logit": slid.means,
    }
    return record


def _readings(readings: Mapping[float, Reading], place: int) -> Record:
    before = readings[UNTOUCHED]
    record: Record = {}
    for key, alpha in (("before", UNTOUCHED), ("left", ERASED), ("amplified", AMPLIFIED)):
        record[key] = float(readings[alpha].probabilities[:, place].mean())
        record[f"logit_{key}"] = float(readings[alpha].logits[:, place].mean())
    for suffix, alpha in (("", ERASED), ("_amplified", AMPLIFIED)):
        record[f"others{suffix}"] = others_changed(before, readings[alpha], [place])
        record[f"factors{suffix}"] = before.factors_moved(readings[alpha])
    return record


def others_changed(before: Reading, after: Reading, places: Sequence[int]) -> float:
    """The mean absolute change of the probability of all attributes but those in ``places``."""
    change = reading_change(before.probabilities, after.probabilities)
    others = [place for place in range(len(change)) if place not in places]
    return float(change[others].mean())


def _distances(
    untouched: Float[Tensor, "n c s s"],
    erased: Float[Tensor, "n c s s"],
    perfect: Float[Tensor, "n c s s"],
    images: Float[Tensor, "n c s s"],
    truth: Float[Tensor, "n c s s"],
) -> Record:
    """Squared errors to the autoencoder's image of the exact ground truth, inside and outside the attribute."""
    inside = covered(images, truth)
    record: Record = {}
    for key, drawn in (("untouched", untouched), ("erased", erased)):
        record[f"{key}_inside"], record[f"{key}_outside"] = pixel_errors(drawn, perfect, inside)
    return record


def measure_truth(subject: FaceSubject) -> Record | None:
    """The readings of a perfect edit: the autoencoder's images of the same people drawn without the attribute."""
    found: Record = {}
    for place, name in enumerate(subject.case.attributes):
        truth = subject.truth("test", place)
        if truth is None:
            return None
        before = subject.read(subject.draw(subject.test.having(place).images))
        after = subject.read(subject.draw(truth))
        found[name] = {
            "before": float(before.probabilities[:, place].mean()),
            "left": float(after.probabilities[:, place].mean()),
            "logit_before": float(before.logits[:, place].mean()),
            "logit_left": float(after.logits[:, place].mean()),
            "others": others_changed(before, after, [place]),
            "factors": before.factors_moved(after),
        }
    return {**mean_record(list(found.values())), "attributes": found}


def measure_autoencoder(subject: FaceSubject) -> Record:
    """How well faces are redrawn, and how well the classifier reads faces and redrawn faces."""
    images = subject.test.images
    drawn = subject.draw(images)
    return {
        "reconstruction": float((drawn - images).square().mean()),
        "faces_read": reading_quality(subject.read(images), subject.test),
        "redrawn_read": reading_quality(subject.read(drawn), subject.test),
    }


def mean_record(records: Sequence[Record]) -> Record:
    """The mean of every number over attributes; None if one is missing."""
    found: Record = {}
    for key in records[0]:
        values = [record[key] for record in records]
        if all(isinstance(value, float) for value in values):
            found[key] = sum(values) / len(values)
        elif any(value is None for value in values):
            found[key] = None
    return found
