"""Every attack on every model, read once for the same weights, attack, data and versions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from mnemotomy.audit.attack import Attack
from mnemotomy.audit.base import AUC, Finding, Reading, Role, Sample
from mnemotomy.audit.options import AuditOptions
from mnemotomy.core.cells import json_cells
from mnemotomy.core.clock import Clock
from mnemotomy.core.keys import key
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.version import versions
from mnemotomy.engram.edit import Edit

READINGS = "readings"


@dataclass(frozen=True)
class Reader:
    """Reads models, and keeps what it read in the folder of the options.

    Attributes:
        models: by role.
        prints: what identifies each model, by role.
        options: of the audit.
        digest: a hash of a case.
        own: a case as a model of a role takes it.
    """

    models: Mapping[Role, nn.Module]
    prints: Mapping[Role, str]
    options: AuditOptions
    digest: Callable[[Any], str]
    own: Callable[[Role, Any], Any] = lambda role, case: case

    @property
    def resumes(self) -> bool:
        """Whether the folder has readings of an earlier run."""
        return self.options.folder is not None and (Path(self.options.folder) / READINGS).exists()

    def findings(self, chosen: Sequence[Attack], case: Any) -> tuple[list[Finding], dict[str, str]]:
        """What the attacks find, and by the words for each that was skipped, the reason."""
        lacking = {one.name: (one.in_words, why) for one in chosen if (why := one.lacks(case)) is not None}
        usable = [one for one in chosen if one.name not in lacking]
        found = list[Finding]()
        total = sum(one.cost for one in usable) * len(self.models)
        with progress_bar("auditing", total, enabled=self.options.progress) as advance:
            for attack in usable:
                readings: dict[Role, Reading] = {}
                for role in self.models:
                    advance(0, f"{attack.title}, {role}")
                    with self._resumable():
                        readings[role] = self.reading(attack, role, case)
                    advance(attack.cost)
                taken = sum(one.seconds for one in readings.values())
                found.append(replace(attack.find(readings, case), seconds=round(taken, 1)))
        return with_auc(found), dict(lacking.values())

    def reading(self, attack: Attack, role: Role, case: Any) -> Reading:
        """What an attack reads from one model; it is kept by what it reads, so that a hold-out repeats little."""
        if attack.holdout == "unread":
            return self._read(attack, role, case.without_holdout)
        if attack.holdout == "apart" and case.holdout:
            found, unseen = self._read(attack, role, case.without_holdout), self._read(attack, role, case.unseen)
            return found.above(unseen) if unseen.values else found  # some sets have no false answers to choose from
        return self._read(attack, role, case)

    def _read(self, attack: Attack, role: Role, case: Any) -> Reading:
        prints = self.prints[role], self.prints["before"]
        name = key(attack.name, attack, *prints, self.digest(case), versions())
        return _reading(self.kept(name, partial(_timed, attack, self.models[role], self.own(role, case))))

    @contextlib.contextmanager
    def _resumable(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            if self.options.folder is None:
                raise
            raise KeyboardInterrupt(f"the same command resumes from {self.options.folder}") from None

    def notes(self, skipped: Mapping[str, str]) -> list[str]:
        """What the report says of the models, and of attacks that were skipped."""
        found, before, after = list[str](), self.models["before"], self.models["after"]
        if self.prints["before"] == self.prints["after"]:
            found.append("The model under audit has the weights of the model before: nothing was changed.")
        elif type(after) is not type(before):
            one, other = type(after).__name__, type(before).__name__
            found.append(f"The model under audit is another kind of model ({one}) than the one before ({other}).")
        for why in dict.fromkeys(skipped.values()):
            names = ", ".join(name for name, own in skipped.items() if own == why)
            found.append(f"Not run: {names}. Reason: {why}.")
        return found

    def kept(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A result from the folder, if there is one; made and written there first if need be."""
        if self.options.folder is None:
            return make()
        return json_cells(Path(self.options.folder) / READINGS).kept(name, make)


def with_auc(findings: Sequence[Finding]) -> list[Finding]:
    """The findings; the first sentence with an AUC says what that is."""
    first = next((one for one in findings if one.unit == "AUC"), None)
    return [replace(one, sentence=f"{one.sentence} {AUC}") if one is first else one for one in findings]


def models_by_role(before: nn.Module, after: nn.Module | Edit, gold: nn.Module | None) -> dict[Role, nn.Module]:
    """The models, an edit applied to a copy."""
    edited = after.apply(before, tied="untie") if isinstance(after, Edit) else after
    return {"before": before, "after": edited, **({} if gold is None else {"gold": gold})}


def _timed(attack: Attack, model: nn.Module, case: Any) -> dict[str, Any]:
    clock = Clock()
    found = asdict(attack.read(model, case))
    clock.lap("seconds")
    return found | clock.seconds


def _reading(row: Mapping[str, Any]) -> Reading:
    seconds = row.get("seconds", 0.0)  # which version 0.2.0 did not keep
    sizes = {size: (tuple(values), tuple(floor)) for size, (values, floor) in row.get("sizes", {}).items()}
    samples, unseen = (tuple(Sample(**one) for one in row.get(name, ())) for name in ("samples", "unseen"))
    return Reading(
        tuple(row["values"]),
        row["curve"],
        tuple(row["floor"]),
        tuple(row["shown"]),
        seconds,
        sizes,
        samples=samples,
        unseen=unseen,
    )
