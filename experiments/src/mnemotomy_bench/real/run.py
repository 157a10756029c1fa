"""Every request under every edit on one pretrained model, in cells."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnemotomy import ForgetOptions, SurgeryWarning, Template
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
from mnemotomy.core.precision import autocast
from mnemotomy.engram.edit import Edit
from mnemotomy.forget.candidates import Candidate
from mnemotomy.forget.forgetting import forget
from mnemotomy.forget.found import Found
from mnemotomy.observe.fluency import losses_under
from mnemotomy_bench.lab.cells import Record, cached
from mnemotomy_bench.lab.resources import measured
from mnemotomy_bench.real.world import Task, known_facts, share_said, tasks

RELATIONS = ("country", "capital", "language")
PLAIN = Template(plain=True)

BY_HAND: Mapping[str, Candidate] = {
    "paper's μ": Candidate("paper", 0.0, outputs=False, blocks="all"),
    "paper's μ by weight norm": Candidate("weight-norm", 0.0, outputs=False, blocks="all"),
    "projector on μ > 0.5": Candidate("projector", 0.5, outputs=False, blocks="all"),
    "projector with outputs": Candidate("projector", 0.5, blocks="all"),
    "projector with outputs, upper third": Candidate("projector", 0.5, blocks="upper third"),
}
"""What the search is compared with: single settings that nobody chose on this model's answers."""

CHOSEN = "forget, defaults"


@dataclass(frozen=True)
class RealRun:
    """One model's experiment.

    Attributes:
        model: a folder.
        out: of the cells.
        trials: of the search.
        texts: general texts for the perplexity, such as problems of GSM8K.
        requests: how many of the requests to run.
    """

    model: str
    out: Path
    trials: int = 12
    texts: Sequence[str] = ()
    requests: int = 4

    def run(self, seed: int) -> list[Record]:
        """A record for each request and edit."""
        with quiet_transformers():
            model, tokenizer = load_model(self.model), load_tokenizer(self.model)
        name = fingerprint(model)
        known = {one: self._known(model, tokenizer, name, one) for one in RELATIONS}
        found: list[Record] = []
        for task in tasks(known, seed)[: self.requests]:
            what = {"model": name, "request": task.name, "seed": seed, "trials": self.trials, "texts": list(self.texts)}
            run = _Request(self, model, tokenizer, task, seed)
            found += [{"request": task.name, "seed": seed, **row} for row in cached(self.out, what, run.rows)["rows"]]
        return found

    def _known(self, model: nn.Module, tokenizer: Any, name: str, relation: str) -> Any:
        from mnemotomy.data.fact import Fact
        from mnemotomy.data.real_facts import real_facts

        def run() -> Mapping[str, Any]:
            with autocast(torch.device("cpu"), "auto"):
                return {"subjects": [fact.subject for fact in known_facts(model, tokenizer, relation)]}

        subjects = set(cached(self.out, {"model": name, "known": relation}, run)["subjects"])
        facts: tuple[Fact, ...] = tuple(fact for fact in real_facts(relation) if fact.subject in subjects)
        return facts


class _Request:
    """One request: the search once, then every edit measured on what no moment and no search has seen."""

    def __init__(self, run: RealRun, model: nn.Module, tokenizer: Any, task: Task, seed: int) -> None:
        self.run, self.model, self.tokenizer, self.task, self.seed = run, model, tokenizer, task, seed

    def rows(self) -> Mapping[str, Any]:
        options = ForgetOptions(trials=self.run.trials, template=PLAIN, seed=self.seed, progress=False)
        with measured(torch.device("cpu")) as usage, warnings.catch_warnings():
            warnings.simplefilter("ignore", SurgeryWarning)
            found = forget(self.model, self.tokenizer, self.task.forget_set(), self.task.retain_set(), options)
        cost = {"seconds": usage.seconds, "peak_bytes": usage.peak_bytes}
        rows = [{"edit": "before", **self._measured(None)}]
        rows += [{"edit": name, **self._measured(_edit(found, one))} for name, one in BY_HAND.items()]
        chosen = {"chosen": str(found.chosen.candidate), "concerns": list(found.concerns), **cost}
        rows.append({"edit": CHOSEN, **self._measured(lambda: found.edit), **chosen})
        return {"rows": rows}

    def _measured(self, edit: Callable[[], Edit] | None) -> Record:
        if edit is None:
            return self._numbers()
        with edit().on(self.model, check=False):
            return self._numbers()

    def _numbers(self) -> Record:
        task = self.task
        asked = {
            "target": [(prompt, fact.answer) for fact in task.target for prompt in fact.prompts],
            "target_heldout": [(prompt, fact.answer) for fact in task.target for prompt in fact.heldout_prompts],
            "seen_heldout": [(prompt, fact.answer) for fact in task.seen for prompt in fact.heldout_prompts],
            "unseen": [(prompt, fact.answer) for fact in task.unseen for prompt in fact.prompts],
            "unseen_heldout": [(prompt, fact.answer) for fact in task.unseen for prompt in fact.heldout_prompts],
            "other_relations": [(fact.heldout_prompts[0], fact.answer) for fact in task.others],
            "context": [
                (f"{fact.contexts[0]} {prompt}", fact.answer) for fact in task.target for prompt in fact.heldout_prompts
            ],
            "counterfactual": [
                (f"{fact.contexts[0].replace(fact.answer, wrong)} {prompt}", wrong)
                for fact, wrong in zip(task.target, _others(task), strict=True)
                for prompt in fact.heldout_prompts[:1]
            ],
        }
        with autocast(torch.device("cpu"), "auto"):
            found: Record = {name: share_said(self.model, self.tokenizer, pairs) for name, pairs in asked.items()}
            losses = losses_under(self.model, self.tokenizer, list(self.run.texts)) if self.run.texts else []
        if len(losses):
            found["perplexity"] = float(torch.as_tensor(losses).double().mean().exp())
        return found | {"facts": len(task.target)}


def _edit(found: Found, candidate: Candidate) -> Callable[[], Edit]:
    return lambda: found.workshop.edit(candidate)


def _others(task: Task) -> list[str]:
    """For each fact to forget, the answer of another one."""
    answers = sorted({fact.answer for fact in (*task.seen, *task.unseen)})
    return [next(one for one in answers[number % len(answers) :] + answers if one != fact.answer)
            for number, fact in enumerate(task.target)]  # fmt: skip


def tiny(run: RealRun) -> RealRun:
    """Two requests, the first candidates alone."""
    return replace(run, trials=4, requests=2, texts=list(run.texts)[:4])
