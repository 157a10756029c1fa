"""Two engrams at once: ``μ ± μ_Glasses ∓ μ_Goatee`` (Eq. 8), and whether they interfere."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mnemotomy.engram.edit import Edit
from mnemotomy_bench.generative.faces.measure import others_changed
from mnemotomy_bench.generative.faces.subject import FaceSubject
from mnemotomy_bench.lab.cells import Record

SIGNS = ((1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, 1.0))
"""The two of Eq. 8 first; +1 amplifies, −1 erases."""


def arithmetic(subject: FaceSubject, engrams: Sequence[Edit]) -> Record | None:
    """Readings of both attributes, on test faces that have both; None if there is no such face.

    ``both_left`` is the mean probability of the two after both are erased, ``crosstalk`` the mean absolute difference,
    image by image, between the probability after the joint edit and after the edit of that attribute alone.
    """
    faces = subject.test[subject.test.attributes[:, 0] & subject.test.attributes[:, 1]]
    if not len(faces):
        return None
    images = faces.images
    before = subject.read(subject.draw(images))
    alone = {
        (place, sign): subject.read(subject.draw(images, sign * engrams[place]))
        for place in (0, 1)
        for sign in (1.0, -1.0)
    }
    states: Record = {}
    apart = []
    for signs in SIGNS:
        reading = subject.read(subject.draw(images, signs[0] * engrams[0] + signs[1] * engrams[1]))
        state: Record = {"others": others_changed(before, reading, (0, 1)), "factors": before.factors_moved(reading)}
        for place, sign in enumerate(signs):
            name = subject.case.attributes[place]
            state[name] = float(reading.probabilities[:, place].mean())
            state[f"logit_{name}"] = float(reading.logits[:, place].mean())
            single = alone[place, sign].probabilities[:, place]
            apart.append(float((reading.probabilities[:, place] - single).abs().mean()))
        states[title(subject.case.attributes, signs)] = state
    names = subject.case.attributes[:2]
    erased = states[title(subject.case.attributes, (-1.0, -1.0))]
    return {
        "faces": len(faces),
        "before": {name: float(before.probabilities[:, place].mean()) for place, name in enumerate(names)},
        "both_left": sum(erased[name] for name in names) / 2,
        "both_others": erased["others"],
        "crosstalk": float(torch.tensor(apart).mean()),
        "states": states,
    }


def title(names: Sequence[str], signs: Sequence[float]) -> str:
    """As in ``μ − glasses + goatee``."""
    return "μ " + " ".join(f"{'+' if sign > 0 else '−'} {name}" for name, sign in zip(names, signs, strict=False))
