"""Every request under every form on one pretrained model, in cells; validation chooses, unseen prompts measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.keys import key
from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
from mnemotomy.core.precision import autocast
from mnemotomy.data.fact import Fact
from mnemotomy.data.real_facts import real_facts
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.sites import Selector, select_sites
from mnemotomy.forget.candidates import Candidate, Workshop
from mnemotomy.forget.measuring import Judge, Scores
from mnemotomy.forget.reference import written_texts
from mnemotomy.forget.search import Tried
from mnemotomy_bench.lab.cells import Record, cached
from mnemotomy_bench.real.forms import ATTENTION, FORMS
from mnemotomy_bench.real.measure import decoded, numbers
from mnemotomy_bench.real.surgery import ATTENTION_SITES, PLAIN, Surgery
from mnemotomy_bench.real.world import RELATIONS, Task, known_facts, tasks

WIDEST = 2048
"""With wider inputs, only the attention is edited: factorising the wide ones would take longer than all else."""

OWN_TOKENS = 2000
"""Of texts that the model writes itself, in the reference."""

BEFORE, RULE = "before", "chosen by validation"

PLAN: Sequence[tuple[str, Sequence[int]]] = (
    ("country", (0, 1, 2)),
    ("city", (0, 1, 2)),
    ("fifteen", (0,)),
    ("relation", (0,)),
    ("sequence", (0,)),
    ("references", (0,)),
)
"""What is run, in this order: requests, and what is made of them, with seeds."""


@dataclass(frozen=True)
class RealRun:
    """One model's experiment.

    Attributes:
        model: a folder.
        out: of the cells.
        texts: general texts for the perplexity, such as problems of GSM8K.
    """

    model: str
    out: Path
    texts: Sequence[str] = ()

    def run(self, name: str, seed: int) -> list[Record]:
        """The records of one entry of the plan."""
        from mnemotomy_bench.real.references import references
        from mnemotomy_bench.real.sequence import sequence

        made = {"sequence": sequence, "references": references}.get(name)
        found = made(self, seed) if made else list(self._rows(name, seed))
        about = {"model": Path(self.model).name, "table": name, "seed": seed}
        return [about | record for record in found]

    def cell(self, what: Mapping[str, Any], run: Callable[[], Mapping[str, Any]]) -> Record:
        """A record of this model, computed once."""
        return cached(self.out, {"model": self.fingerprint, **what}, run)

    @cached_property
    def loaded(self) -> tuple[Any, Any]:
        """The model and its tokenizer."""
        with quiet_transformers():
            return load_model(self.model).eval(), load_tokenizer(self.model)

    @cached_property
    def fingerprint(self) -> str:
        """Of the model."""
        return fingerprint(self.loaded[0])

    @cached_property
    def sites(self) -> Selector:
        """All projections, or those of the attention where inputs are wide."""
        widths = [int(site.weight().shape[-1]) for site in select_sites(self.loaded[0]).values()]
        return "all-linear" if max(widths) <= WIDEST else ATTENTION_SITES

    @cached_property
    def known(self) -> dict[str, tuple[Fact, ...]]:
        """The facts that the model says, by relation."""

        def subjects(relation: str) -> Mapping[str, Any]:
            with autocast(torch.device("cpu")):
                return {"subjects": [fact.subject for fact in known_facts(*self.loaded, relation)]}

        found = {}
        for relation in RELATIONS:
            names = self.cell({"known": relation}, lambda relation=relation: subjects(relation))["subjects"]
            found[relation] = tuple(fact for fact in real_facts(relation) if fact.subject in set(names))
        return found

    @cached_property
    def own_texts(self) -> list[str]:
        """Texts that the model wrote."""

        def write() -> Mapping[str, Any]:
            with autocast(torch.device("cpu")):
                made = written_texts(*self.loaded, OWN_TOKENS, PLAIN, 0)
            return {"texts": [one.turns[0].content for one in made]}

        return list(self.cell({"own texts": OWN_TOKENS}, write)["texts"])

    def surgery(self, names: Sequence[str], seed: int) -> Surgery:
        """Of some requests at once."""
        made = tasks(self.known, seed)
        return Surgery(*self.loaded, [made[name] for name in names], self.own_texts, seed, self.sites)

    def measured(self, task: Task, what: Mapping[str, Any], edit: Callable[[], Edit] | None, *, probe: bool) -> Record:
        """The numbers of one state of the model, and with ``probe`` what a fresh probe reads at each block."""
        model, tokenizer = self.loaded
        about = {"task": key(task.name, [(one.subject, one.answer) for one in (*task.target, *task.unseen)]), **what}

        def within(read: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
            if edit is None:
                return read()
            with edit().on(model, check=False):
                return read()

        found = self.cell(
            {**about, "texts": list(self.texts)}, lambda: within(lambda: numbers(model, tokenizer, task, self.texts))
        )
        if probe:
            found |= self.cell(
                {**about, "probe": "linear"}, lambda: within(lambda: {"probe": decoded(model, tokenizer, task)})
            )
        return found

    def _rows(self, name: str, seed: int) -> Iterator[Record]:
        forms = FORMS if self.sites == "all-linear" else ATTENTION
        surgery = self._surgeries(name, seed)
        task = tasks(self.known, seed)[name]
        tried = _Validation(self, surgery, task, seed)
        about = {"request": task.name, "facts": len(task.target)}
        yield {**about, "edit": BEFORE, **self.measured(task, {"edit": BEFORE}, None, probe=True)}
        best = {form: max(map(tried, candidates), key=tried.rank) for form, candidates in forms.items()}
        chosen = max(best.values(), key=tried.rank)
        for form, one in [*best.items(), (RULE, chosen)]:
            what = {"edit": one.candidate.recipe(), "seed": seed}
            found = self.measured(
                task, what, lambda one=one: surgery.workshop(task).edit(one.candidate), probe=form == RULE
            )
            validation = None if one.scores is None else one.scores.row() | {"works": one.works(tried.before)}
            yield {**about, "edit": form, "candidate": str(one.candidate), "validation": validation, **found}

    def _surgeries(self, name: str, seed: int) -> Surgery:
        """The cities' requests share one; all capitals are in the moments of their own request alone."""
        kept = self.__dict__.setdefault("_kept", {})
        names = ("relation",) if name == "relation" else ("city", "country", "fifteen")
        if (names, seed) not in kept:
            kept.clear()  # the moments of one seed take gigabytes
            kept[names, seed] = self.surgery(names, seed)
        return kept[names, seed]


class _Validation:
    """What ``forget`` measures of candidates, in cells; the judge is made when the first is missing."""

    def __init__(self, run: RealRun, surgery: Surgery, task: Task, seed: int) -> None:
        self.run, self.surgery, self.task, self.seed = run, surgery, task, seed

    @cached_property
    def _judge(self) -> Judge:
        return self.surgery.judge(self.task)

    @cached_property
    def before(self) -> Scores:
        """Of the model as it was."""
        return self._scores({"candidate": BEFORE}, lambda: self._judge.before)  # type: ignore[return-value]

    def rank(self, one: Tried) -> tuple[bool, float]:
        """The rule of ``forget``."""
        return one.rank(self.before)

    def __call__(self, candidate: Candidate) -> Tried:
        scores = self._scores({"candidate": candidate.recipe()}, lambda: self._try(candidate))
        return Tried(0, candidate, scores)

    def _try(self, candidate: Candidate) -> Scores | None:
        from mnemotomy.forget.search import Search

        judge, workshop = self._judge, self.surgery.workshop(self.task)  # the judge first, on the unedited model
        return Search(judge, workshop, 1, progress=False).try_(candidate)

    def _scores(self, what: Mapping[str, Any], run: Callable[[], Scores | None]) -> Scores | None:
        def row() -> Mapping[str, Any]:
            found = run()
            return {"scores": None if found is None else found.row()}

        task = {"validated": self.task.name, "seed": self.seed, "unseen": [one.subject for one in self.task.unseen]}
        scores = self.run.cell({**task, **what}, row)["scores"]
        return None if scores is None else Scores(**scores)


__all__ = ["BEFORE", "PLAN", "RULE", "RealRun", "Workshop"]
