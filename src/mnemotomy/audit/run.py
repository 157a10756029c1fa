"""An audit: every attack on every model, kept by content, and a verdict."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from torch import nn

from mnemotomy.audit.attack import attacks
from mnemotomy.audit.base import Case, Limit, Role
from mnemotomy.audit.cases import completed, digest, made_up, probes_from
from mnemotomy.audit.cost import cost_of_audit
from mnemotomy.audit.fluency import Fluency
from mnemotomy.audit.holdout import check_unlearned, with_likeness
from mnemotomy.audit.images_run import audit_images
from mnemotomy.audit.options import AuditOptions
from mnemotomy.audit.reading import Reader, models_by_role
from mnemotomy.audit.report import Report
from mnemotomy.audit.several import likeliest, note, with_first
from mnemotomy.audit.verdict import verdict
from mnemotomy.core.errors import ModelError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.image_models import reads_images
from mnemotomy.core.keys import key
from mnemotomy.core.models import check_language_model
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import resolved
from mnemotomy.core.version import versions
from mnemotomy.engram.edit import Edit
from mnemotomy.observe.questions import Observed
from mnemotomy.text.records import check_apart

_PLAIN = ("greedy", "paraphrase")  # how earlier requests are asked about


def audit(
    before: nn.Module,
    after: nn.Module | Edit,
    tokenizer: Any = None,
    forget: Any = None,
    retain: Any = None,
    holdout: Any = None,
    gold: nn.Module | None = None,
    *,
    earlier: Mapping[str, Any] | None = None,
    after_tokenizer: Any = None,
    options: AuditOptions | None = None,
) -> Report:
    """Attack a claim of forgetting, and say what is left and what was damaged.

        report = mt.audit(before, after, tokenizer, "forget.jsonl", "retain.jsonl")
        report.verdict.line  # such as "hidden"
        report.save("audit")

    Args:
        before: the model before forgetting, a causal language model of transformers or an image classifier.
        after: the model under audit, or an edit of the first.
        tokenizer: of all models; of classifiers, the image processor if images are in files, else None.
        forget: what was to be forgotten, a JSON Lines file or its lines; for classifiers images with their classes, as
            for ``mnemotomy.forget``.
        retain: what was to be kept; by default the model's own answers to general questions, for classifiers always
            given.
        holdout: like the forget set, but no model has learned it; for classifiers, other images of the same classes.
        gold: a model that never learned the forget set: the yardstick.
        earlier: the forget sets of earlier requests, by name.
        after_tokenizer: of the model under audit, if its chat template is another.
        options: which parts, and how.

    Raises:
        DataError: a file or line is malformed, or stands in two sets, or the model before knows the hold-out.
        ModelError: a model cannot write, or lacks some of the tokenizer's tokens.
        ConfigurationError: a part is unknown.
        FingerprintError: the edit belongs to another model.
    """
    options = options or AuditOptions()
    if reads_images(tokenizer):
        return audit_images(before, after, tokenizer, forget, retain, holdout, gold, earlier or {}, options)
    chosen = options.chosen()
    sets = {"forget": forget, "retain": retain, "holdout": holdout}
    probes = {name: probes_from(source, options.template, f"{name} set") for name, source in sets.items()}
    lines = {name: [each.example for one in some for each in one.each] for name, some in probes.items()}
    for first, second in itertools.combinations(lines, 2):
        check_apart(first, lines[first], second, lines[second])
    case = Case(
        tokenizer,
        probes["forget"],
        probes["retain"],
        probes["holdout"],
        template=options.template,
        seed=options.seed,
        batch_size=options.batch_size,
        precision=resolved(options.precision, device_of(before)),
    )
    models = models_by_role(before, after, gold)
    for model in models.values():
        check_language_model(model, tokenizer)
    tokenizers: dict[Role, Any] = {"after": after_tokenizer or tokenizer}
    if tokenizers["after"].get_vocab() != tokenizer.get_vocab():
        raise ModelError("the tokenizer of the model under audit has another vocabulary; audit an edit of this model")
    prints = {role: Observed(model, tokenizers.get(role, tokenizer)).fingerprint for role, model in models.items()}
    reader = Reader(
        models,
        prints,
        options,
        digest,
        lambda role, case: replace(case, tokenizer=tokenizers.get(role, tokenizer)),
    )
    if options.say is not None:
        cost = cost_of_audit(before, replace(case, reference=before), chosen, len(models))
        options.say(cost.told(len(case.forget), len(models), resumes=reader.resumes))
    if (told := note(probes)) != []:
        name = key("likeliest", reader.prints["before"], digest(case), versions())
        case = with_first(case, reader.kept(name, lambda: likeliest(case, before)))
    known = case.without_holdout
    name = key("made up", reader.prints["before"], digest(known), versions())
    case, notes = completed(case, before, reader.kept(name, lambda: made_up(known, before)))
    judged = gold is None and bool(case.holdout)  # a gold model takes the hold-out's place
    if judged:
        check_unlearned(reader, case)
    judge = next((one for one in chosen if isinstance(one, Fluency)), Fluency())
    if judge in chosen:
        name = key("limit", judge, reader.prints["before"], digest(case), versions())
        case = replace(case, limit=Limit(**reader.kept(name, lambda: asdict(judge.limit(case)))))
    findings, skipped = reader.findings(chosen, case)
    findings = with_likeness(findings, reader, case) if judged else findings
    notes = [*told, *notes, *reader.notes(skipped)]
    past = {}
    for name, source in (earlier or {}).items():
        old = replace(case, forget=probes_from(source, options.template, f"earlier set {name}"))
        plain = [kind() for attack, kind in attacks().items() if attack in _PLAIN]
        past[name] = reader.findings(plain, old)[0]
    return Report(
        verdict=verdict(
            findings,
            yardstick=gold is not None or bool(case.holdout),
            skipped=skipped,
            left_out=options.left_out(),
        ),
        findings=tuple(findings),
        earlier={name: tuple(some) for name, some in past.items()},
        notes=tuple(notes),
        record={
            "about": {**options.about, **({} if judge.judge is None else {"judge of fluency": judge.judge})},
            "models": {role: fingerprint(model) for role, model in models.items()}
            | ({"judge of fluency": judge.hashes[0]} if judge.hashes else {}),
            "data": {name: key([asdict(one) for one in some]) for name, some in probes.items() if some},
            "asked": "questions",
            "questions": {name: len(some) for name, some in probes.items() if some},
            "fluency": None if case.limit is None else asdict(case.limit),
            "case": digest(case),
            "settings": {"parts": list(options.parts), "tasks": list(options.tasks), "seed": options.seed,
                         "batch_size": options.batch_size, "precision": case.precision,
                         "template": asdict(options.template),
                         "attacks": {one.name: asdict(one) for one in chosen}},
            "versions": versions(),
        },
    )  # fmt: skip
