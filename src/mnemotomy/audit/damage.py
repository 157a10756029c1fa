"""What forgetting broke: over-forgetting is probed as carefully as under-forgetting (arXiv 2607.09236)."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import nn

from mnemotomy.audit.attack import Attack, percent, register
from mnemotomy.audit.base import Case, Finding, Part, Reading, Role, Use
from mnemotomy.audit.judging import says, subject_of, telling, words_of
from mnemotomy.audit.writing import greedy_answers, samples_of
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.keys import file_digest
from mnemotomy.core.models import quiet_transformers
from mnemotomy.observe.fluency import losses_under
from mnemotomy.text.probes import Probe

HARM = 0.05
"""A fall of a share by more than this, beyond doubt above 0, is damage; so is a rise of the perplexity by 5 %."""

PAPER = "arXiv 2607.09236"
_MOST = 100  # questions of a retain set
_ALIKE = 0.6  # the share of a question's words that another of the same form has


@dataclass(frozen=True)
class Damage(Attack):
    """An attack on what was to be kept.

    Attributes:
        sign: −1 where lower numbers are worse, 1 where higher ones are.
    """

    part: ClassVar[Part] = "damage"
    holdout: ClassVar[Use] = "unread"
    sign: ClassVar[int] = -1
    says: ClassVar[str] = "{title}: {after}"
    ends: ClassVar[str] = ", {before} before."

    def find(self, readings: Mapping[Role, Reading], case: Case) -> Finding:
        """The finding is harm if the numbers got worse by more than ``HARM``, and got worse beyond doubt."""
        finding = super().find(readings, case)
        worse = sorted(self.sign * value for value in finding.change or ())
        return replace(finding, trace=None, harm=bool(worse) and worse[1] > HARM and worse[0] > 0.0)


@register("retained", "Retained answers", "Maini et al. 2024, arXiv 2401.06121", unit="share of answers said")
class Retained(Damage):
    """The retain set's questions, answered greedily."""

    def lacks(self, case: Case) -> str | None:
        return None if self.kept(case) else "there is no retain set with questions"

    def kept(self, case: Case) -> list[Probe]:
        places = np.random.default_rng(case.seed).permutation(len(case.retain))[:_MOST]
        return [case.retain[place] for place in sorted(places)]

    def read(self, model: nn.Module, case: Case) -> Reading:
        probes = self.kept(case)
        texts = greedy_answers(model, case, probes)
        values = [says(one, text) for one, text in zip(probes, texts, strict=True)]
        return Reading(tuple(values), samples=samples_of(probes, texts, values))


@register("neighbours", "Answers about neighbours of what was forgotten", PAPER)
class Neighbours(Retained):
    """The nearest of the retain set: the same question about other subjects, and other questions about the same.

    Both are told from the words, since a file names neither subjects nor relations: the subject is the name in a
    question, and questions of one relation share the other words.
    """

    def lacks(self, case: Case) -> str | None:
        return None if self.kept(case) else "the retain set has no neighbours of the forget set"

    def kept(self, case: Case) -> list[Probe]:
        near = [(kind, place) for place, one in enumerate(case.retain) if (kind := _nearness(case, one))]
        return [case.retain[place] for _, place in sorted(near)[:_MOST]]

    def read(self, model: nn.Module, case: Case) -> Reading:
        reading = super().read(model, case)
        by_kind: dict[str, list[float]] = {}
        for probe, value in zip(self.kept(case), reading.values, strict=True):
            by_kind.setdefault(_nearness(case, probe), []).append(value)
        return replace(reading, curve={kind: sum(row) / len(row) for kind, row in by_kind.items()})


def _nearness(case: Case, probe: Probe) -> str:
    """How a retained question is near a forgotten one: same relation, same subject, shared words, or not at all."""
    subject, form = subject_of(probe.question), _form(probe.question)
    kinds = set()
    own = set(telling(probe.question + " " + probe.answer))
    for other in case.forget:
        if subject is not None and subject == subject_of(other.question):
            return "same subject"
        theirs = _form(other.question)
        if form and len(form & theirs) >= _ALIKE * len(form | theirs):
            kinds.add("same relation")
        elif own & set(telling(other.question + " " + other.answer)):
            kinds.add("shared words")
    return min(kinds, default="")


def _form(question: str) -> set[str]:
    return set(words_of(question)) - set(words_of(subject_of(question) or ""))


@register("perplexity", "Perplexity on general text", PAPER, unit="nats per token", bounded=False, sign=1)
class GeneralText(Damage):
    """The loss of general text and of the retain set's texts, in nats per token."""

    def lacks(self, case: Case) -> str | None:
        return None if case.texts else "there are no texts"

    def read(self, model: nn.Module, case: Case) -> Reading:
        losses = losses_under(model, case.tokenizer, case.texts, batch_size=case.batch_size)
        return Reading(tuple(loss for loss in losses if loss is not None))

    def written(self, value: float) -> str:
        """As a perplexity."""
        return f"{math.exp(min(value, 50.0)):.3g}"


@register(
    "tasks", "Tasks of lm-eval", "Gao et al. 2024, lm-evaluation-harness", unit="score", bounded=False, default=False
)
class Tasks(Damage):
    """Tasks of lm-eval, by name or by the file of a task of your own.

    Attributes:
        tasks: their names or YAML files.
        limit: the most examples of a task.
        hashes: of the files, so that a changed one is read again.
    """

    tasks: tuple[str, ...] = ()
    limit: int = 200
    hashes: tuple[str, ...] = ()

    @classmethod
    def named(cls, tasks: Sequence[str]) -> Tasks:
        """Those tasks, checked.

        Raises:
            ConfigurationError: as ``check``.
        """
        found = cls(tuple(tasks), hashes=tuple(file_digest(one) for one in tasks if Path(one).is_file()))
        found.check()
        return found

    def check(self) -> None:
        """Refuse, before hours of other attacks, what this one would fail on.

        Raises:
            ConfigurationError: no task is named, one is unknown, or lm-eval is not installed.
        """
        if not self.tasks:
            raise ConfigurationError("tasks of lm-eval are run by name; name them with --tasks, as in --tasks arc_easy")
        if importlib.util.find_spec("lm_eval") is None:
            raise ConfigurationError(f"{', '.join(self.tasks)}: tasks need lm-eval; get it with: pip install lm-eval")
        if unknown := [
            task for task in self.tasks if not Path(task).is_file() and task not in _manager(False).all_tasks
        ]:
            raise ConfigurationError(
                f"{unknown[0]!r} is neither a task of lm-eval nor a file; 'lm_eval ls tasks' lists the tasks"
            )

    def read(self, model: nn.Module, case: Case) -> Reading:
        import lm_eval
        from lm_eval.models.huggingface import HFLM

        with quiet_transformers():
            wrapped = HFLM(pretrained=model, tokenizer=case.tokenizer, batch_size=case.batch_size)
            answer: Any = lm_eval.simple_evaluate(
                wrapped,
                tasks=list(self.tasks),
                limit=self.limit,
                log_samples=False,
                bootstrap_iters=0,
                random_seed=case.seed,
                task_manager=_manager(all(Path(task).is_file() for task in self.tasks)),
            )
        scores = {name: _score(row) for name, row in answer["results"].items()}
        return Reading(tuple(scores.values()), curve=scores)

    def find(self, readings: Mapping[Role, Reading], case: Case) -> Finding:
        finding = super().find(readings, case)
        before, after = (readings[role].curve for role in ("before", "after"))
        named = ", ".join(f"{name} {percent(after[name])} ({percent(before[name])} before)" for name in after)
        harm = max((before[name] - after[name] for name in after), default=0.0) > HARM
        return replace(finding, harm=harm, sentence=f"{self.title}: {named}.")


@functools.cache
def _manager(files: bool) -> Any:
    """What loads tasks; without ``files`` alone, it lists all of lm-eval's, which takes seconds."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=not files)


def _score(row: Mapping[str, Any]) -> float:
    """The first score of a task: its accuracy, where it has one."""
    numbers: Sequence[tuple[str, float]] = [
        (name, float(value)) for name, value in row.items() if isinstance(value, int | float) and "stderr" not in name
    ]
    return next((value for name, value in numbers if name.startswith("acc")), numbers[0][1] if numbers else math.nan)
