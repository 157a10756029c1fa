"""The search: fixed candidates first, then Optuna's, each tried on the model in place and undone."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import ConfigurationError, DataError, NonFiniteError
from mnemotomy.core.keys import key
from mnemotomy.core.printable import one_line
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.seeds import mix
from mnemotomy.forget.candidates import Candidate
from mnemotomy.forget.scores import Measure, Scores
from mnemotomy.forget.workshop import Workshop

RUINED = 1e3
"""Stands for a KL that is not finite."""

LIMIT = 0.05
"""The share of kept answers' tokens that a chosen edit may lose, where any candidate forgets at so little cost."""

FORGOTTEN = 0.1
"""The share of what was known that such a candidate may leave."""

_DEPENDS = "depends"  # an attribute of a study
_CONTENT = "content"  # an attribute of a trial: the hash of all others


@dataclass(frozen=True)
class Tried:
    """A candidate with what it did; ``scores`` is None if it broke the model."""

    number: int
    candidate: Candidate
    scores: Scores | None

    def score(self, before: Scores) -> float:
        """The harmonic mean of what is forgotten, what is kept, and ``exp(−KL)``; each in [0, 1]."""
        if self.scores is None:
            return 0.0
        parts = (self.scores.forgotten(), kept(self.scores, before), math.exp(-self.scores.kl))
        return 0.0 if min(parts) <= 0.0 else len(parts) / sum(1.0 / part for part in parts)

    def works(self, before: Scores) -> bool:
        """Whether all but ``FORGOTTEN`` is forgotten at a cost of at most ``LIMIT``."""
        scores = self.scores
        return scores is not None and scores.left <= FORGOTTEN and before.hits - scores.hits <= LIMIT

    def rank(self, before: Scores) -> tuple[bool, float]:
        """What candidates are chosen by: those that work first, then by score."""
        return self.works(before), self.score(before)


def kept(scores: Scores, before: Scores) -> float:
    """The share of kept answers' tokens and of their probability that is left, whichever is less."""
    return min(1.0, scores.hits / max(before.hits, 1e-9), scores.kept / max(before.kept, 1e-9))


def pareto(tried: Sequence[Tried], before: Scores) -> list[Tried]:
    """Those that no other beats in forgetting, kept answers and KL at once; the most forgotten first."""
    alive = [one for one in tried if one.scores is not None]
    points = [(one.scores.left, -kept(one.scores, before), one.scores.kl) for one in alive if one.scores]
    front = [
        one
        for one, point in zip(alive, points, strict=True)
        if not any(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in points)
    ]
    unique: dict[tuple[float, ...], Tried] = {}
    for one in front:
        assert one.scores is not None
        unique.setdefault((one.scores.left, one.scores.kept, one.scores.kl), one)
    return sorted(unique.values(), key=lambda one: one.scores.left if one.scores else 1.0)


@dataclass(frozen=True)
class Search:
    """A search that can be stopped and resumed without losing a trial.

    The workshop's ``first`` candidates come first, and each of Optuna's depends on the trials before it and on the
    seed alone: a longer search repeats a shorter one and adds to it, so its choice is never worse.

    Attributes:
        judge, workshop: measure and make.
        trials: in all.
        seed: of Optuna's sampler.
        storage: an SQLite file for the study; None to keep it in memory.
        depends: hashes of everything that the numbers depend on, by name; trials of other hashes are not used.
        progress: show a bar with the time left.
    """

    judge: Measure
    workshop: Workshop
    trials: int
    seed: int = 0
    storage: Path | None = None
    depends: Mapping[str, str] = field(default_factory=dict)
    progress: bool = True

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ConfigurationError(f"a search has at least 1 trial, not {self.trials}")

    def run(self) -> list[Tried]:
        """All trials, in their order.

        Raises:
            KeyboardInterrupt: it says that the trials are kept.
            DataError: the trials of an earlier run are damaged.
        """
        study, done = self._opened()
        fixed = self.workshop.first
        with progress_bar("searching", self.trials, enabled=self.progress) as advance:
            advance(min(len(done), self.trials))
            with self._keeping(study):
                for number in range(len(done), self.trials):
                    found = self._trial(study, number, fixed, done)
                    done.append(found)
                    advance(1, self.workshop.named(found.candidate))
        return done[: self.trials]

    def _trial(self, study: Any, number: int, fixed: Sequence[Candidate], done: Sequence[Tried]) -> Tried:
        import optuna

        if number < len(fixed):
            study.enqueue_trial(fixed[number].params(), skip_if_exists=False)
        study.sampler = optuna.samplers.TPESampler(seed=mix(self.seed, number) % 2**32, n_startup_trials=0)
        trial = study.ask()
        candidate = self.workshop.suggested(trial)
        if number < len(fixed):
            candidate = fixed[number]
        same = next((one for one in done if one.candidate == candidate), None)
        scores = self.try_(candidate) if same is None else same.scores
        trial.set_user_attr("candidate", candidate.recipe())
        trial.set_user_attr("scores", None if scores is None else scores.row())
        before = self.judge.before
        values = [1.0, 1.0, RUINED] if scores is None else [scores.left, 1.0 - kept(scores, before), scores.kl]
        values = [min(value, RUINED) for value in values]
        trial.set_user_attr(_CONTENT, key(trial.params, trial.user_attrs, values))
        study.tell(trial, values)
        return Tried(number, candidate, scores)

    def try_(self, candidate: Candidate) -> Scores | None:
        """What an edit does; None if the model's outputs are no longer finite."""
        try:
            with self.workshop.edit(candidate).on(self.judge.model, check=False):
                scores = self.judge.scores()
        except NonFiniteError:
            return None
        return scores if all(map(math.isfinite, scores.row().values())) else None

    def _opened(self) -> tuple[Any, list[Tried]]:
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            study = self._study()
            return study, self._finished(study)
        except (OptunaError, SQLAlchemyError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{self.storage}: the trials of an earlier search are damaged ({one_line(error)[:100]}); remove the "
                "file"
            ) from error

    def _finished(self, study: Any) -> list[Tried]:
        import optuna

        found: list[Tried] = []
        for trial in study.trials:
            if trial.state == optuna.trial.TrialState.COMPLETE:
                attributes = dict(trial.user_attrs)
                if attributes.pop(_CONTENT, None) != key(trial.params, attributes, trial.values):
                    raise ValueError(f"trial {trial.number} has changed since it was written")
                about = dict(attributes["candidate"])
                about.pop("name")
                scores = attributes["scores"]
                found.append(Tried(len(found), Candidate(**about), None if scores is None else Scores(**scores)))
        return found

    def _study(self) -> Any:
        import optuna
        from sqlalchemy.engine import URL

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = None
        if self.storage is not None:  # the path may have characters that a URL would read as its own
            storage = URL.create("sqlite", database=str(self.storage.absolute())).render_as_string()
        name = key(self.depends)
        others = [] if storage is None else optuna.get_all_study_summaries(storage)
        if others and name not in [one.study_name for one in others]:
            last = max(others, key=lambda one: one.datetime_start or datetime.min).user_attrs.get(_DEPENDS, {})
            differ = [what for what, value in self.depends.items() if last.get(what) != value]
            warnings.warn(
                f"{self.storage} has trials of an earlier search with other values of: {', '.join(differ)}; they are "
                "kept, but not used",
                stacklevel=6,
            )
        study = optuna.create_study(storage=storage, study_name=name, directions=["minimize"] * 3, load_if_exists=True)
        study.set_user_attr(_DEPENDS, dict(self.depends))
        return study

    @contextlib.contextmanager
    def _keeping(self, study: Any) -> Iterator[None]:
        import optuna

        try:
            yield
        except BaseException as error:
            for trial in study.get_trials(deepcopy=False):
                if trial.state in (optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING):
                    with contextlib.suppress(Exception):  # the error that ended the search is the one to show
                        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            if isinstance(error, KeyboardInterrupt) and self.storage is not None:
                raise KeyboardInterrupt(f"the same command resumes from {self.storage}") from None
            raise
