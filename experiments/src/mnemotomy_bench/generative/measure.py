"""How a network without one digit draws every digit, compared with the original and the retrained one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mnemotomy_bench.generative.autoencoder import Subject
from mnemotomy_bench.generative.observing import drawn_pixels, see
from mnemotomy_bench.generative.records import Cell, Damage, Measured
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.metrics.similarity import linear_cka
from mnemotomy_bench.vision.networks.conv_autoencoder import ConvAutoencoder


def measure(model: ConvAutoencoder, subject: Subject, digit: int) -> Measured:
    """Errors by digit on the test images, similarity of the codes, and one reconstruction of each digit.

    ``cka_own`` and ``cka_others`` compare the codes of the digit and of the others with the original's;
    ``cka_retrained`` those of all test images with the retrained model's, None if that lacks another digit.
    """
    seen, own = see(model, subject.test, subject.classes), subject.test.labels == digit
    return {
        "digit": digit,
        "by_class": seen.by_class.tolist(),
        "cka_own": linear_cka(seen.codes[own], subject.before.codes[own]),
        "cka_others": linear_cka(seen.codes[~own], subject.before.codes[~own]),
        "cka_retrained": linear_cka(seen.codes, subject.without.codes) if digit == subject.case.forget else None,
        "pixels": drawn_pixels(model, subject.samples),
    }


def damage(before: Sequence[float], after: Sequence[float], digit: int) -> Damage:
    """How much worse the digit is drawn, and how much the others: mean squared errors per pixel, and their increase.

    ``selectivity`` is the digit's increase over the mean of the others'; None if the others did not get worse.

    Args:
        before: by class, of the original.
        after: by class.
        digit: the one to forget.
    """
    ground, left = torch.tensor(before), torch.tensor(after)
    rise = left - ground
    others = torch.arange(len(left)) != digit
    own_rise, others_rise = float(rise[digit]), float(rise[others].mean())
    return {
        "own": float(left[digit]),
        "others": float(left[others].mean()),
        "own_rise": own_rise,
        "others_rise": others_rise,
        "worst_rise": float(rise[others].max()),
        "own_factor": float(left[digit] / ground[digit]),
        "others_factor": float((left[others] / ground[others]).mean()),
        "selectivity": own_rise / others_rise if others_rise > 0.0 else None,
    }


def damage_of_all(before: Sequence[float], cells: Sequence[Cell]) -> Record:
    """Over all erased digits: the mean rises and factors, their ratio, and the selectivity of the worst digit."""
    found: list[Record] = [{**damage(before, cell["by_class"], cell["digit"])} for cell in cells]
    means = {
        key: sum(one[key] for one in found) / len(found)
        for key in ("own_rise", "others_rise", "own_factor", "others_factor")
    }
    each = [one["selectivity"] for one in found]
    whole = means["others_rise"] > 0.0
    return {
        **{f"all_{key}": value for key, value in means.items()},
        "all_selectivity": means["own_rise"] / means["others_rise"] if whole else None,
        "all_lowest_selectivity": None if None in each else min(each),
    }
