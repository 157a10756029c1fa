"""What the bench operates on: a pair, its data, and where results are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnemotomy.evaluation.evaluating import OBSERVATIONS, Fluency, evaluation_of
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.self_reference import SelfReference, write_reference
from mnemotomy.metrics.tofu.evaluation import Evaluation
from mnemotomy.observe.questions import Asking, Observed
from mnemotomy.observe.splits import Splits, observe_splits
from mnemotomy.text.records import TextExample
from mnemotomy_bench.lab.resources import measured
from mnemotomy_bench.tofu.pairs import Pair
from mnemotomy_bench.tofu.texts import Texts
from mnemotomy_bench.tofu.validation import Validation, validation


@dataclass(frozen=True)
class Subject:
    """A pair with its texts; every number is computed once and cached under ``out``.

    Attributes:
        pair: the models.
        texts: the data.
        out: the folder of all results.
        asking: how models are asked.
        fluency: what judges their answers.
        reference: how the full model writes the texts that methods retain; None for the retain set.
    """

    pair: Pair
    texts: Texts
    out: Path
    asking: Asking = field(default_factory=Asking)
    fluency: Fluency = field(default_factory=Fluency)
    reference: SelfReference | None = None

    @cached_property
    def full(self) -> Observed:
        """The model that is to forget."""
        return self.pair.observed(self.pair.full)

    @cached_property
    def retain(self) -> Observed:
        """The gold model."""
        return self.pair.observed(self.pair.retain)

    @cached_property
    def pretrained(self) -> nn.Module | None:
        """The model before it learned TOFU, if the pair has one."""
        return None if self.pair.pretrained is None else self.pair.load(self.pair.pretrained)

    def problem(self, seed: int) -> TextProblem:
        """What methods are given, without the gold model and the test questions."""
        return TextProblem(
            model=self.full.model,
            tokenizer=self.full.tokenizer,
            forget=self.texts.forgotten,
            retain=self.texts.retained if self.reference is None else self._written[0],
            template=self.asking.template,
            pretrained=self.pretrained,
            seed=seed,
        )

    def evaluation(self, observed: Observed, splits: Splits | None = None) -> Evaluation:
        """All metrics of a model, on the test questions or on other splits."""
        chosen = self.texts.evaluation if splits is None else splits
        return evaluation_of(observed, chosen, self.asking, fluency=self.fluency, folder=self.out)

    def validation(self, observed: Observed) -> Validation:
        """How close a model comes to the ideal, without test questions and without the gold model."""
        return validation(self._validated(observed), self._level)

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """All that a method's result depends on besides method and seed."""
        identity = {
            "full": self.full.fingerprint,
            "pretrained": self.pair.pretrained and self.pair.observed(self.pair.pretrained).fingerprint,
            "texts": self.texts.digest,
            "template": asdict(self.asking.template),
            "device": torch.device(self.pair.device).type,  # precision, seconds and memory depend on it
        }
        return identity if self.reference is None else identity | {"reference": asdict(self.reference)}

    @property
    def writing_seconds(self) -> float:
        """The cost of writing the full model's reference."""
        return 0.0 if self.reference is None else self._written[1]

    @cached_property
    def _written(self) -> tuple[Sequence[TextExample], float]:
        assert self.reference is not None
        with measured(torch.device(self.pair.device)) as usage:
            texts = write_reference(self.full.model, self.full.tokenizer, self.reference, self.asking.template)
        return texts, usage.seconds

    @cached_property
    def _level(self) -> Any:
        return self._validated(self.full)

    def _validated(self, observed: Observed) -> Any:
        asking = Asking(self.asking.template, 0, self.asking.batch_size)
        kept = self.out / OBSERVATIONS if observed is self.full else None
        return observe_splits(observed, self.texts.validation, asking, kept)
