"""One configuration of a method with one seed: treated, measured and evaluated; each result is cached."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from torch import nn

from mnemotomy.core.cells import json_cells
from mnemotomy.core.errors import NonFiniteError, TrainingError
from mnemotomy.core.keys import key
from mnemotomy.core.models import save_model
from mnemotomy.core.modules import device_of
from mnemotomy.core.version import versions
from mnemotomy.methods.language.gradient import GradientMethod
from mnemotomy.methods.language.loop import Loss
from mnemotomy.methods.language.problem import LanguageMethod, TextProblem
from mnemotomy.metrics.tofu.evaluation import Evaluation, summary
from mnemotomy.metrics.tofu.scores import scores
from mnemotomy.observe.questions import Observed
from mnemotomy.observe.splits import asked
from mnemotomy.training.checkpoint import CHECKPOINT, progress_of
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.lab.flops import counted_flops
from mnemotomy_bench.lab.resources import measured
from mnemotomy_bench.tofu.records import Evaluated, Named, Scored, Treated, Validated
from mnemotomy_bench.tofu.sharing import Sharing
from mnemotomy_bench.tofu.subject import Subject

BROKEN = (TrainingError, NonFiniteError)


def treated_cell(subject: Subject, method: LanguageMethod, seed: int) -> Treated:
    """The method run and its model saved: ``seconds``, ``peak_bytes``, ``folder``, and ``failed`` if it diverged.

    Seconds cover all sessions of an interrupted run, and writing the reference if there is one.
    """
    name = cell_key(subject, method, seed)
    folder = subject.out / "treated" / name

    def run() -> Record:
        problem, training = subject.problem(seed), subject.out / "training" / name
        earlier = progress_of(training / CHECKPOINT).seconds  # of a run that was interrupted
        with measured(device_of(problem.model)) as usage:
            try:
                model = treat(method, problem, training)
            except BROKEN as error:
                shutil.rmtree(training, ignore_errors=True)
                return {"failed": str(error)}
        save_model(model, folder)
        shutil.rmtree(training, ignore_errors=True)
        seconds = subject.writing_seconds + earlier + usage.seconds
        return {"failed": None, "seconds": seconds, "peak_bytes": usage.peak_bytes, "folder": folder.name}

    record = cast(Treated, kept(subject, "cells", name, run, _named(method, seed)))
    if record["failed"] is None and not folder.is_dir():  # the model was removed after a search
        json_cells(subject.out / "cells").remove(name)
        return treated_cell(subject, method, seed)
    return record


def validated_cell(subject: Subject, method: LanguageMethod, seed: int, sharing: Sharing) -> Validated:
    """The validation of a configuration; ``score`` is 0 where it broke the model."""

    def run() -> Record:
        try:
            if isinstance(method, GradientMethod):  # slow to train, so its model is kept for the evaluation
                done = treated_cell(subject, method, seed)
                if done["failed"]:
                    return {"failed": done["failed"], "score": 0.0}
                observed = subject.pair.observed(str(subject.out / "treated" / done["folder"]))
            else:
                observed = Observed(sharing.treated(method), subject.pair.tokenizer)
            found = subject.validation(observed)
        except BROKEN as error:
            return {"failed": str(error), "score": 0.0}
        return {"failed": None, "score": found.score, **asdict(found)}

    return cast(Validated, kept(subject, "validations", cell_key(subject, method, seed), run, _named(method, seed)))


def evaluated_cell(subject: Subject, method: LanguageMethod, seed: int) -> Evaluated:
    """The row of Table 6, every aggregate, and the cost of the run; ``failed`` says why there is none."""

    def run() -> Record:
        done = treated_cell(subject, method, seed)
        if done["failed"]:
            return dict(done)
        observed = subject.pair.observed(str(subject.out / "treated" / done["folder"]))
        try:
            return {**done, **row(subject, subject.evaluation(observed))}
        except NonFiniteError as error:
            return {**done, "failed": str(error)}

    return cast(Evaluated, kept(subject, "evaluated", row_key(subject, method, seed), run, _named(method, seed)))


def remove_model(subject: Subject, method: LanguageMethod, seed: int) -> None:
    """Remove the model of a configuration that was not chosen; its numbers stay."""
    shutil.rmtree(subject.out / "treated" / cell_key(subject, method, seed), ignore_errors=True)


def row(subject: Subject, evaluation: Evaluation) -> Scored:
    """Scores rescaled between the pair's models, and all raw aggregates as ``raw``."""
    ends = [subject.evaluation(one) for one in (subject.full, subject.retain)]
    return cast(Scored, {**scores(evaluation, *ends).row(), "raw": summary(evaluation)})


def flops_cell(subject: Subject, method: LanguageMethod) -> int | None:
    """The operations of one run of ``method``, counted in a separate run; None if that diverged."""

    def run() -> Record:
        problem = subject.problem(0)
        try:
            if not isinstance(method, GradientMethod):
                return {"flops": counted_flops(lambda: method(problem))}
            loss: list[Loss] = []
            found = counted_flops(lambda: loss.append(method.objective(problem)))
            model = copy.deepcopy(problem.model)
            return {"flops": found + counted_flops(lambda: method.minimise(loss[0], problem, model), dry=True)}
        except BROKEN:
            return {"flops": None}

    found = kept(subject, "operations", cell_key(subject, method, 0), run, _named(method, 0))["flops"]
    return None if found is None else int(found)


def cell_key(subject: Subject, method: LanguageMethod, seed: int) -> str:
    """A hash of all that the method's model depends on."""
    identity = {**subject.identity, "method": repr(method), "seed": seed, "versions": versions()}
    if method.material():
        identity["material"] = method.material()
    return key(identity)


def row_key(subject: Subject, method: LanguageMethod, seed: int) -> str:
    """A hash of all that the method's ``row`` depends on: its model, the gold model, and how both are asked."""
    return key(cell_key(subject, method, seed), *_measured_by(subject))


def subject_key(subject: Subject) -> str:
    """A hash of all that the records of one table share; only such records may be compared."""
    return key(dict(subject.identity), *_measured_by(subject))


def _measured_by(subject: Subject) -> list[str]:
    return [subject.retain.fingerprint, *asked(subject.full, subject.asking), subject.fluency.digest()]


def kept(subject: Subject, kind: str, name: str, run: Callable[[], Record], extra: Mapping[str, Any]) -> Record:
    """The result ``name`` of one kind: read from its file, or computed by ``run``, with ``extra``."""
    return json_cells(subject.out / kind).kept(name, lambda: {**run(), **extra})


def described(method: LanguageMethod) -> dict[str, Any]:
    """The configuration of a method as JSON values."""
    found = json.loads(json.dumps(asdict(cast(Any, method)), default=str))
    return dict(found)


def _named(method: LanguageMethod, seed: int) -> Named:
    return {"method": method.name, "config": described(method), "configuration": repr(method), "seed": seed,
            "versions": versions()}  # fmt: skip


def treat(method: LanguageMethod, problem: TextProblem, folder: Path) -> nn.Module:
    """The model after the method; a gradient method saves its training in ``folder`` and resumes from there."""
    if isinstance(method, GradientMethod):
        return method.train(problem, copy.deepcopy(problem.model), folder)
    return method(problem)
