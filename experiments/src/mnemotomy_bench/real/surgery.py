"""One collecting pass and one factorisation for all requests of a seed; only the concept's part differs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import nn

from mnemotomy.data.fact import Fact
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.factored import FactoredConcept
from mnemotomy.engram.sites import Selector
from mnemotomy.forget.measuring import Judge
from mnemotomy.forget.request import Request
from mnemotomy.forget.workshop import TextWorkshop, Workshop
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.text.batches import batches
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import Template
from mnemotomy_bench.real.world import Task, lines

PLAIN = Template(plain=True)
CHECKS, ASKED = 24, 8
"""Lines of the retain set that are validated on, and lines of the forget set that are."""

ATTENTION_SITES = r".*(self_attn|attention)\..*"
OWN = "own texts"


class Surgery:
    """The moments of some requests on one model, and their validation.

    Args:
        model: a causal language model, as it was before.
        tokenizer: the model's.
        tasks: requests with the same unseen facts.
        texts: that the model wrote itself, for the reference.
        seed: of the lines that are validated on.
        sites, layers: which projections of which blocks.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        tasks: Sequence[Task],
        texts: Sequence[str],
        seed: int,
        sites: Selector = "all-linear",
        layers: Sequence[int] | None = None,
    ) -> None:
        self.model, self.tokenizer, self.tasks, self.seed = model, tokenizer, tasks, seed
        self.sites, self.layers = sites, layers
        self.texts = [TextExample.of_text(text) for text in texts]
        targets = {fact for task in tasks for fact in task.target}
        untouched = lines([fact for fact in tasks[0].seen if fact not in targets])
        self.checks = random.Random(seed).sample(untouched, min(CHECKS, len(untouched) // 2))
        self._workshop: tuple[str, Workshop] | None = None

    @cached_property
    def atlas(self) -> Atlas:
        """Σ of every set of facts that some requests share, and of the model's own texts."""
        data = {OWN: self.texts, **{name: self._in_moments(facts) for name, facts in self._parts().items()}}
        made = {
            name: batches(self.tokenizer, some, template=PLAIN, positions="all") for name, some in data.items() if some
        }
        options = CollectOptions(progress=False)
        moments = collect(self.model, made, sites=self.sites, layers=self.layers, options=options)
        return Atlas(self.model, moments)

    def workshop(self, task: Task) -> Workshop:
        """The decomposition of one request, kept until another is asked for."""
        if self._workshop is None or self._workshop[0] != task.name:
            self._workshop = None
            own = set(task.target)
            parts = [name for name, facts in self._parts().items() if own.issuperset(facts)]
            retain = [*self._in_moments(task.seen), *self.texts]
            problem = TextProblem(self.model, self.tokenizer, task.forget_set(), retain, PLAIN, seed=self.seed)
            factored = FactoredConcept(self.atlas, parts)
            self._workshop = (task.name, TextWorkshop(factored, problem, two_sided=False))
        return self._workshop[1]

    def judge(self, task: Task) -> Judge:
        """What ``forget`` measures candidates by: no held-out phrasing and no unseen fact is in it."""
        forget = task.forget_set()
        asked = random.Random(self.seed).sample(forget, min(ASKED, len(forget)))
        return Judge(Request(self.model, self.tokenizer, asked, [], self.checks, PLAIN, self.seed), "auto")

    def _parts(self) -> dict[str, list[Fact]]:
        """The facts, in sets that each request has as a whole or not at all."""
        found: dict[str, list[Fact]] = {}
        facts = dict.fromkeys(fact for task in self.tasks for fact in (*task.target, *task.seen))
        for fact in facts:
            name = " and ".join(task.name for task in self.tasks if fact in task.target)
            found.setdefault(name or "retained", []).append(fact)
        return found

    def _in_moments(self, facts: Sequence[Fact]) -> list[TextExample]:
        return [one for one in lines(facts) if one not in self.checks]
