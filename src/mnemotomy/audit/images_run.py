"""The audit of an image classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from mnemotomy.audit.attack import attacks
from mnemotomy.audit.images_case import ImageCase
from mnemotomy.audit.meaning import IMAGES
from mnemotomy.audit.options import AuditOptions
from mnemotomy.audit.reading import Reader, models_by_role
from mnemotomy.audit.report import Report
from mnemotomy.audit.verdict import verdict
from mnemotomy.core.errors import ConfigurationError, DataError, ModelError
from mnemotomy.core.fingerprints import digest, fingerprint
from mnemotomy.core.image_models import check_image_classifier, class_names
from mnemotomy.core.keys import key
from mnemotomy.core.version import versions
from mnemotomy.data.examples import Examples
from mnemotomy.data.image_sets import Source, apart_from, check_labels, image_sets
from mnemotomy.engram.edit import Edit
from mnemotomy.methods.classifiers.classifier import class_count, head_of

_PLAIN = ("image-plain", "image-augmented")  # how earlier requests are asked about
NO_GOLD = (
    "No gold model was given: fresh probes and relearning on forgotten images teach something to any network, so they "
    "decide nothing here. Edited models often relearn from fewer images than one that never saw them."
)
NO_HOLDOUT = "No hold-out set was given: whether forgotten images look like training data was not tested."


def audit_images(
    before: nn.Module,
    after: nn.Module | Edit,
    processor: Any,
    forget: Source,
    retain: Source | None,
    holdout: Source | None,
    gold: nn.Module | None,
    earlier: Mapping[str, Source],
    options: AuditOptions,
) -> Report:
    """Attack a claim that a classifier has forgotten (``mnemotomy.audit``)."""
    chosen = options.chosen("classifiers")
    if options.tasks or options.fluency:
        raise ConfigurationError("tasks of lm-eval and a judge of fluency are for language models; leave them out")
    if forget is None or retain is None:
        raise DataError("an audit of a classifier needs images that were to be forgotten, and others to be kept")
    check_image_classifier(before)
    models = models_by_role(before, after, gold)
    names, channels = class_names(before), int(getattr(getattr(before, "config", None), "num_channels", 3))
    given = {"forget": forget, "retain": retain, "holdout": holdout}
    sets = image_sets(given | {f"earlier {name}": one for name, one in earlier.items()}, names, processor, channels,
                      options.seed)  # fmt: skip
    apart_from(sets["retain"], sets["forget"])  # refuses a retain set without other classes
    count = class_count(before, sets["forget"])
    for name, examples in sets.items():
        check_labels(examples, count, name)
    for role, model in models.items():
        if class_count(model, sets["forget"]) != count:
            raise ModelError(f"the {role} model does not have the {count} classes of the model before; audit another")
    widths = {head_of(model, sets["forget"]).in_features for model in models.values()}
    case = ImageCase(
        sets["forget"],
        sets["retain"],
        _of_forgotten(sets.get("holdout"), sets["forget"]),
        names or tuple(map(str, range(count))),
        options.seed,
        options.batch_size,
        before,
        len(widths) == 1,
    )
    prints = {role: key(type(model).__name__, fingerprint(model)) for role, model in models.items()}
    reader = Reader(models, prints, options, ImageCase.digest)
    findings, skipped = reader.findings(chosen, case)
    plain = [kind() for name, kind in attacks("classifiers").items() if name in _PLAIN]
    past = {name: reader.findings(plain, replace(case, forget=sets[f"earlier {name}"]))[0] for name in earlier}
    notes = [] if gold is not None else [NO_GOLD]
    notes += [] if case.holdout is not None else [NO_HOLDOUT]
    return Report(
        verdict=verdict(
            findings, yardstick=gold is not None, asked=IMAGES, left_out=options.left_out("classifiers")
        ),
        findings=tuple(findings),
        earlier={name: tuple(some) for name, some in past.items()},
        notes=(*notes, *reader.notes(skipped)),
        record={
            "about": dict(options.about),
            "models": {role: fingerprint(model) for role, model in models.items()},
            "data": {name: key(digest(some.inputs), digest(some.labels)) for name, some in sets.items()},
            "asked": "images",
            "questions": {name: len(some) for name, some in sets.items()},
            "case": case.digest(),
            "settings": {"parts": list(options.parts), "seed": options.seed, "batch_size": options.batch_size,
                         "attacks": {one.name: asdict(one) for one in chosen}},
            "versions": versions(),
        },
    )  # fmt: skip


def _of_forgotten(holdout: Examples | None, forget: Examples) -> Examples | None:
    """The hold-out images of the forgotten classes, if there are any."""
    if holdout is None:
        return None
    own = torch.nonzero(torch.isin(holdout.labels, forget.labels))[:, 0]
    return holdout[own] if len(own) else None
