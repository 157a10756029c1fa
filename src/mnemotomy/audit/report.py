"""An audit's report: one page, JSON, and a text for a deletion request."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from mnemotomy.audit.attack import attacks, percent
from mnemotomy.audit.base import AUC, PARTS, TITLES, Finding, Interval
from mnemotomy.audit.verdict import DIRECT, FAINT, GONE, LEFT, Verdict
from mnemotomy.core.files import check_above, write_text
from mnemotomy.report.table import Table

FILES = {"page.html.j2": "audit.html", "deletion-report.md.j2": "deletion-report.md"}


@dataclass(frozen=True)
class Report:
    """What an audit found.

    Attributes:
        verdict: in four words, with its reason and the damage.
        findings: of all attacks that were run.
        earlier: of the earlier requests, by name.
        notes: what was made up, and what was not tested and why.
        record: hashes of models and data, settings, seeds, versions, and what the user said of the request.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    earlier: Mapping[str, tuple[Finding, ...]]
    notes: tuple[str, ...]
    record: Mapping[str, Any]

    @property
    def untested(self) -> list[str]:
        """The parts that were not run."""
        there = {one.part for one in self.findings}
        return [TITLES[part] for part in PARTS if part not in there]

    @property
    def unrun(self) -> dict[str, list[str]]:
        """By the titles of parts, the titles of the attacks that were not run, or did not find out what they ask."""
        ran = {one.title for one in self.findings}
        kinds = attacks("classifiers" if self.record["asked"] == "images" else "language models")
        found: dict[str, list[str]] = {}
        for kind in kinds.values():
            if kind.title not in ran:
                found.setdefault(TITLES[kind.part], []).append(kind.title)
        return found

    @property
    def samples(self) -> bool:
        """Whether there are examples of what the models said."""
        return any(one.shown for one in self.findings)

    @property
    def unjudged(self) -> dict[str, str]:
        """By the titles of attacks that did not find out what they ask: why."""
        kinds = attacks()
        return {kinds[one.attack].title: one.unjudged for one in self.findings if one.unjudged}

    @property
    def past(self) -> list[str]:
        """What is said of each earlier request now, and was before this one: a sentence each."""
        return [_past(name, findings) for name, findings in self.earlier.items()]

    @property
    def past_by_number(self) -> list[str]:
        """The same without the names of files, which may be people's."""
        return [_past(str(number), findings) for number, findings in enumerate(self.earlier.values(), start=1)]

    @property
    def seconds(self) -> dict[str, float]:
        """What each part took, in all models and in whichever runs, by its title."""
        return {
            TITLES[part]: round(sum(one.seconds for one in self.findings if one.part == part))
            for part in PARTS
            if TITLES[part] not in self.untested
        }

    def table(self, findings: tuple[Finding, ...] | None = None) -> Table:
        """The findings as a table."""
        rows = [
            [
                one.title,
                *(_number(one, role) for role in ("before", "after", "gold")),
                _number(one, "floor"),
                _spread(one.trace),
            ]
            for one in (self.findings if findings is None else findings)
        ]
        heads = ["attack", "before", "after", "gold", "nothing known", "left of what it knew"]
        unused = [place for place in range(1, len(heads)) if all(not row[place] for row in rows)]
        keep = [place for place in range(len(heads)) if place not in unused]
        return Table([heads[place] for place in keep], [[row[place] for place in keep] for row in rows])

    @property
    def known(self) -> int | None:
        """About how many of what was to be forgotten the model knew before, asked plainly; None if it was not asked."""
        plain = [one for one in self.findings if one.attack in DIRECT and "before" in one.means]
        return round(plain[0].questions * plain[0].means["before"].value) if plain else None

    def json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "verdict": asdict(self.verdict),
            "findings": [_plain(one) for one in self.findings],
            "earlier": {name: [_plain(one) for one in some] for name, some in self.earlier.items()},
            "notes": list(self.notes),
            "untested": self.untested,
            "unrun": self.unrun,
            "record": dict(self.record),
        }

    def save(self, folder: str | Path) -> None:
        """Write ``audit.json``, ``audit.html`` and ``deletion-report.md``, each all or nothing.

        Raises:
            DataError: the folder lies below a file.
        """
        folder = Path(folder)
        check_above(folder / "audit.json")
        write_text(folder / "audit.json", json.dumps(self.json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        source = resources.files("mnemotomy.audit") / "templates"
        for template, name in FILES.items():
            environment = jinja2.Environment(
                autoescape=name.endswith(".html"),
                undefined=jinja2.StrictUndefined,
                trim_blocks=True,
                lstrip_blocks=True,
                keep_trailing_newline=True,
            )
            environment.filters |= {"spread": _spread, "percent": percent, "top": _top}
            environment.globals |= {"number": _number, "line": _line}
            text = environment.from_string((source / template).read_text(encoding="utf-8")).render(
                report=self,
                meaning=self.verdict.meaning,
                titles=TITLES,
                auc=AUC,
                parts=[(TITLES[part], [one for one in self.findings if one.part == part]) for part in PARTS],
                left=LEFT,
                gone=GONE,
                faint=FAINT,
                known=self.known,
                direct=DIRECT,
                **self.record,
            )
            write_text(folder / name, text)


def _past(name: str, findings: Sequence[Finding]) -> str:
    """By whether answers are still said, not by a trace: a model that forgot them before has none."""
    known = [one for one in findings if _is_known(one, "after")]
    back = any(not _is_known(one, "before") and one.change is not None and one.change.low > 0.0 for one in known)
    some = any(one.means["after"].value > _floor(one) + LEFT for one in findings)
    status = "came back" if back else "is still known" if known else "may be known" if some else "is still forgotten"
    said = "; ".join(
        f"{one.title.lower()}, {_number(one, 'after')} of the {_counted(one)} ({_number(one, 'before')} before)"
        for one in findings
    )
    return f"The earlier request {name} {status}: {said}."


def _counted(finding: Finding) -> str:
    """What a share counts: "answers are said" for a "share of answers said"."""
    things, done = finding.unit.removeprefix("share of ").rsplit(" ", 1)
    return f"{things} are {done}"


def _is_known(finding: Finding, role: str) -> bool:
    return finding.means[role].low > _floor(finding) + LEFT


def _floor(finding: Finding) -> float:
    return finding.means["floor"].value if "floor" in finding.means else 0.0


def _plain(finding: Finding) -> dict[str, Any]:
    """With the numbers of an interval by name."""
    row = asdict(finding)
    row["means"] = {role: one._asdict() for role, one in finding.means.items()}
    for name in ("trace", "change"):
        one: Interval | None = getattr(finding, name)
        row[name] = None if one is None else one._asdict()
    if finding.likeness is not None:
        row["likeness"] = {**finding.likeness._asdict(), "gap": finding.likeness.gap._asdict()}
    return row


def _number(finding: Finding, role: str) -> str:
    found = finding.means.get(role)
    if found is None:
        return ""
    if finding.unit == "nats per token":  # told as a perplexity
        return f"{math.exp(min(found.value, 50.0)):.3g}"
    return percent(found.value) if finding.unit.startswith("share") or finding.unit == "AUC" else f"{found.value:.3g}"


def _spread(trace: Interval | None) -> str:
    return "" if trace is None else f"{percent(trace.value)} ({percent(trace.low)} to {percent(trace.high)})"


def _top(curves: Mapping[str, Mapping[str, float]]) -> float:
    """The height that all curves of a finding share: 1, or their largest value."""
    return max(1.0, *(value for curve in curves.values() for value in curve.values()))


def _line(curve: Mapping[str, float], width: float, height: float, top: float) -> str:
    """The points of a curve for an SVG polyline, evenly spaced, from 0 to ``top``."""
    step = width / max(1, len(curve) - 1)
    return " ".join(
        f"{place * step:.1f},{height * (1 - value / top):.1f}" for place, value in enumerate(curve.values())
    )
