"""An audit: every attack on every model, kept by content, and a verdict."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import nn

from mnemotomy.audit.attack import Attack, attacks
from mnemotomy.audit.base import PARTS, Case, Finding, Reading, Role
from mnemotomy.audit.cases import Source, completed, digest, made_up, probes_from
from mnemotomy.audit.damage import Tasks
from mnemotomy.audit.report import Report
from mnemotomy.audit.verdict import verdict
from mnemotomy.core.cells import json_cells
from mnemotomy.core.errors import ConfigurationError, ModelError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.keys import key
from mnemotomy.core.models import check_language_model
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import Precision, resolved
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.version import versions
from mnemotomy.engram.edit import Edit
from mnemotomy.observe.questions import Observed
from mnemotomy.text.records import check_apart
from mnemotomy.text.template import OPEN_UNLEARNING, Template

READINGS = "readings"
_PLAIN = ("greedy", "paraphrase")  # how earlier requests are asked about


@dataclass(frozen=True)
class AuditOptions:
    """How an audit runs.

    Attributes:
        parts: of the audit, and names of single attacks.
        tasks: of lm-eval, for the damage.
        template: what stands around questions.
        seed: for everything drawn at random.
        batch_size: the most rows in a batch.
        precision: of the texts that models write: ``bf16``, ``no``, or ``auto``, bf16 where the device is fast at it.
        folder: where readings are kept, so that a run resumes and parts can be added.
        progress: whether to show a bar.
        about: what the report says of the request: names, files, dates.
    """

    parts: Sequence[str] = PARTS
    tasks: Sequence[str] = ()
    template: Template = OPEN_UNLEARNING
    seed: int = 0
    batch_size: int = 32
    precision: Precision = "auto"
    folder: str | Path | None = None
    progress: bool = True
    about: Mapping[str, Any] = field(default_factory=dict)

    def chosen(self) -> list[Attack]:
        """The attacks.

        Raises:
            ConfigurationError: a part or a task is unknown, or tasks are given without lm-eval.
        """
        registry = attacks()
        for part in self.parts:
            if part not in PARTS and part not in registry:
                raise ConfigurationError(f"there is no part {part!r}; choose among {', '.join([*PARTS, *registry])}")
        named = [
            kind()
            for name, kind in registry.items()
            if (name in self.parts or (kind.part in self.parts and kind.default)) and kind is not Tasks
        ]
        if not self.tasks and "tasks" not in self.parts:
            return named
        return [*named, Tasks.named(self.tasks)]


def audit(
    before: nn.Module,
    after: nn.Module | Edit,
    tokenizer: Any,
    forget: Source,
    retain: Source | None = None,
    holdout: Source | None = None,
    gold: nn.Module | None = None,
    *,
    earlier: Mapping[str, Source] | None = None,
    after_tokenizer: Any = None,
    options: AuditOptions | None = None,
) -> Report:
    """Attack a claim of forgetting, and say what is left and what was damaged.

        report = mt.audit(before, after, tokenizer, "forget.jsonl", "retain.jsonl")
        report.verdict.line  # such as "hidden"
        report.save("audit")

    Args:
        before: the model before forgetting, a causal language model of transformers.
        after: the model under audit, or an edit of the first.
        tokenizer: of all models.
        forget: what was to be forgotten, a JSON Lines file or its lines.
        retain: what was to be kept; by default the model's own answers to general questions.
        holdout: like the forget set, but no model has learned it.
        gold: a model that never learned the forget set: the yardstick.
        earlier: the forget sets of earlier requests, by name.
        after_tokenizer: of the model under audit, if its chat template is another.
        options: which parts, and how.

    Raises:
        DataError: a file or line is malformed, or stands in two sets.
        ModelError: a model cannot write, or lacks some of the tokenizer's tokens.
        ConfigurationError: a part is unknown.
        FingerprintError: the edit belongs to another model.
    """
    options = options or AuditOptions()
    chosen = options.chosen()
    sets = {"forget": forget, "retain": retain, "holdout": holdout}
    probes = {name: probes_from(source, options.template, f"{name} set") for name, source in sets.items()}
    lines = {name: [one.example for one in some] for name, some in probes.items()}
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
    edited = after.apply(before, tied="untie") if isinstance(after, Edit) else after
    models: dict[Role, nn.Module] = {"before": before, "after": edited}
    if gold is not None:
        models["gold"] = gold
    for model in models.values():
        check_language_model(model, tokenizer)
    tokenizers = {"after": after_tokenizer or tokenizer}
    if tokenizers["after"].get_vocab() != tokenizer.get_vocab():
        raise ModelError("the tokenizer of the model under audit has another vocabulary; audit an edit of this model")
    reader = _Reader(models, tokenizers, tokenizer, options)
    name = key("made up", reader.prints["before"], digest(case), versions())
    case, notes = completed(case, before, reader.kept(name, lambda: made_up(case, before)))
    if reader.prints["before"] == reader.prints["after"]:
        notes.append("The model under audit has the weights of the model before: nothing was changed.")
    elif type(models["after"]) is not type(before):
        one, other = type(models["after"]).__name__, type(before).__name__
        notes.append(f"The model under audit is another kind of model ({one}) than the one before ({other}).")
    findings, skipped = reader.findings(chosen, case)
    for why in dict.fromkeys(skipped.values()):
        names = ", ".join(name for name, own in skipped.items() if own == why)
        notes.append(f"Not run: {names} ({why}).")
    past = {}
    for name, source in (earlier or {}).items():
        old = replace(case, forget=probes_from(source, options.template, f"earlier set {name}"))
        plain = [kind() for attack, kind in attacks().items() if attack in _PLAIN]
        past[name] = reader.findings(plain, old)[0]
    return Report(
        verdict=verdict(findings, yardstick=gold is not None or bool(case.holdout)),
        findings=tuple(findings),
        earlier={name: tuple(some) for name, some in past.items()},
        notes=tuple(notes),
        record={
            "about": dict(options.about),
            "models": {role: fingerprint(model) for role, model in models.items()},
            "data": {name: key([asdict(one) for one in some]) for name, some in probes.items() if some},
            "questions": {name: len(some) for name, some in probes.items() if some},
            "case": digest(case),
            "settings": {"parts": list(options.parts), "tasks": list(options.tasks), "seed": options.seed,
                         "batch_size": options.batch_size, "precision": case.precision,
                         "template": asdict(options.template),
                         "attacks": {one.name: asdict(one) for one in chosen}},
            "versions": versions(),
        },
    )  # fmt: skip


@dataclass(frozen=True)
class _Reader:
    """Reads every model once for the same weights, attack, data and versions."""

    models: Mapping[Role, nn.Module]
    tokenizers: Mapping[str, Any]
    tokenizer: Any
    options: AuditOptions

    @cached_property
    def prints(self) -> dict[str, str]:
        """The fingerprint of each model with its tokenizer."""
        return {
            role: Observed(model, self.tokenizers.get(role, self.tokenizer)).fingerprint
            for role, model in self.models.items()
        }

    def findings(self, chosen: Sequence[Attack], case: Case) -> tuple[list[Finding], dict[str, str]]:
        """What the attacks find, and what was skipped with the reason."""
        skipped = {one.name: why for one in chosen if (why := one.lacks(case)) is not None}
        usable = [one for one in chosen if one.name not in skipped]
        asked, found = digest(case), []
        with progress_bar("auditing", len(usable) * len(self.models), enabled=self.options.progress) as advance:
            for attack in usable:
                readings: dict[Role, Reading] = {}
                for role, model in self.models.items():
                    advance(0, f"{attack.name}, {role}")
                    own = replace(case, tokenizer=self.tokenizers.get(role, self.tokenizer))
                    name = key(attack.name, attack, self.prints[role], self.prints["before"], asked, versions())
                    readings[role] = _reading(self.kept(name, partial(_read, attack, model, own)))
                    advance(1)
                found.append(attack.find(readings, case))
        return found, skipped

    def kept(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A result from the folder, if there is one; made and written there first if need be."""
        if self.options.folder is None:
            return make()
        return json_cells(Path(self.options.folder) / READINGS).kept(name, make)


def _read(attack: Attack, model: nn.Module, case: Case) -> dict[str, Any]:
    return asdict(attack.read(model, case))


def _reading(row: Mapping[str, Any]) -> Reading:
    return Reading(tuple(row["values"]), row["curve"], tuple(row["floor"]), tuple(row["shown"]))
