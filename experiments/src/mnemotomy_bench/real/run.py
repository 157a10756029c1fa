"""Every request under every form on one pretrained model, in cells; validation chooses, unseen prompts measure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mnemotomy.core.errors import NonFiniteError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.keys import key
from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
from mnemotomy.core.precision import autocast
from mnemotomy.data.fact import Fact
from mnemotomy.data.real_facts import real_facts
from mnemotomy.engram.sites import Selector, select_sites
from mnemotomy.forget.candidates import Candidate
from mnemotomy.forget.reference import written_texts
from mnemotomy.forget.scores import Scores
from mnemotomy.forget.search import Tried
from mnemotomy_bench.lab.cells import Record, cached
from mnemotomy_bench.real.forms import ATTENTION, FORMS, STRONGER
from mnemotomy_bench.real.measure import PROBED, WRITTEN, decoded, numbers
from mnemotomy_bench.real.surgery import ATTENTION_SITES, PLAIN, Surgery
from mnemotomy_bench.real.world import RELATIONS, Task, known_facts, tasks

WIDEST = 2048
"""With wider inputs, only the attention is edited: factorising the wide ones would take longer than all else."""

OWN_TOKENS = 2000
"""Of texts that the model writes itself, in the reference."""

BEFORE, RULE = "before", "chosen by validation"

WHOLE = (("country", 0), ("fifteen", 0), ("relation", 0))
"""What is run with every form; elsewhere, only the attention is edited."""


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

    def sites(self, name: str, seed: int) -> Selector:
        """All projections, or those of the attention: outside of ``WHOLE``, and where inputs are wide."""
        widths = [int(site.weight().shape[-1]) for site in select_sites(self.loaded[0]).values()]
        return "all-linear" if (name, seed) in WHOLE and max(widths) <= WIDEST else ATTENTION_SITES

    @cached_property
    def known(self) -> dict[str, tuple[Fact, ...]]:
        """The facts that the model says, by relation."""

        def subjects(relation: str) -> Mapping[str, Any]:
            with autocast(torch.device("cpu")):
                return {"subjects": [fact.subject for fact in known_facts(*self.loaded, relation, WRITTEN)]}

        found = {}
        for relation in RELATIONS:
            names = self.cell({"known": relation}, functools.partial(subjects, relation))["subjects"]
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

    def measured(self, task: Task, what: Mapping[str, Any], read: Callable[[], Mapping[str, Any]]) -> Record:
        """What ``read`` shows of one state of the model, which ``what`` names."""
        about = key(task.name, [(one.subject, one.answer) for one in (*task.target, *task.unseen)])
        return self.cell({"task": about, "texts": list(self.texts), **what}, read)

    def numbers(self, task: Task) -> Record:
        """The numbers of the model's present state."""
        return numbers(*self.loaded, task, self.texts)

    def rows(self, name: str, seed: int) -> Iterator[Record]:
        surgery, task = self._surgery(name, seed), tasks(self.known, seed)[name]
        forms = dict(FORMS if self.sites(name, seed) == "all-linear" else ATTENTION)
        forms |= STRONGER if name == "city" else {}
        judge = functools.cache(lambda: surgery.judge(task))  # first made on the unedited model

        def state(scores: Callable[[], Scores]) -> Mapping[str, Any]:
            return {"scores": scores().row(), **self.numbers(task)}

        def edited(candidate: Candidate) -> Mapping[str, Any]:
            scores = judge().scores
            try:
                with surgery.workshop(task).edit(candidate).on(self.loaded[0], check=False):
                    return state(scores)
            except NonFiniteError:
                return {"scores": None}

        def probed(candidate: Candidate | None) -> Mapping[str, Any]:
            if candidate is None:
                return decoded(*self.loaded, task)
            with surgery.workshop(task).edit(candidate).on(self.loaded[0], check=False):
                return decoded(*self.loaded, task)

        first = self.measured(task, {"edit": BEFORE, "seed": seed}, lambda: state(lambda: judge().before))
        before = Scores(**first["scores"])
        tried: dict[Candidate, tuple[Tried, Record]] = {}
        for candidate in (one for some in forms.values() for one in some):
            what = {"edit": candidate.recipe(), "seed": seed}
            found = self.measured(task, what, functools.partial(edited, candidate))
            scores = found["scores"]
            tried[candidate] = Tried(0, candidate, None if scores is None else Scores(**scores)), found
        best = {
            form: max((tried[one][0] for one in some), key=lambda one: one.rank(before)) for form, some in forms.items()
        }
        chosen = max(best.values(), key=lambda one: one.rank(before))
        about = {"request": task.name, "facts": len(task.target)}
        probe = self.measured(task, {"edit": BEFORE, "probe": PROBED}, lambda: probed(None))
        yield {**about, "edit": BEFORE, **first, **probe}
        for form, one in [*best.items(), (RULE, chosen)]:
            record = {**about, "edit": form, "candidate": str(one.candidate), **tried[one.candidate][1]}
            record["works"] = one.works(before)
            if form == RULE:
                what = {"edit": chosen.candidate.recipe(), "seed": seed, "probe": PROBED}
                record |= self.measured(task, what, lambda: probed(chosen.candidate))
            yield record

    def _surgery(self, name: str, seed: int) -> Surgery:
        """The cities' requests share one; all capitals are in the moments of their own request alone."""
        names, made = ("relation",) if name == "relation" else ("city", "country", "fifteen"), tasks(self.known, seed)
        kept: dict[Any, Surgery] = self.__dict__.setdefault("_kept", {})
        what = names, seed, self.sites(name, seed)
        if what not in kept:
            kept.clear()  # the moments of one seed take gigabytes
            kept[what] = Surgery(*self.loaded, [made[one] for one in names], self.own_texts, seed, what[2])
        return kept[what]
