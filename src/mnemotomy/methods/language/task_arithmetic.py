"""Task Arithmetic: subtract from the weights what the pretrained model learns from the forget set."""

from __future__ import annotations

import copy
from dataclasses import field

from torch import nn

from mnemotomy.core.errors import ConfigurationError, SelectionError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.engram.deltas import Dense, Term
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.sites import sites_by_name
from mnemotomy.methods.language.collecting import Collecting
from mnemotomy.methods.language.delta import pretrained_of
from mnemotomy.methods.language.gradient import forgotten, nll, over_tokens, run_of
from mnemotomy.methods.language.loop import Descent, Loss, descend
from mnemotomy.methods.language.problem import LanguageMethod, TextProblem
from mnemotomy.methods.registry import register

PAPER_STRENGTHS = (0.5, 1.0, 2.0, 5.0, 20.0)
"""Appendix E.5 of arXiv 2606.14997."""


@register(
    "task-arithmetic",
    "Task Arithmetic",
    "Ilharco et al. 2023, Editing Models with Task Arithmetic",
    family="closed form",
    draws=True,
    cost="5 epochs of the forget set, forwards and backwards",
    needs=("pretrained",),
    grid={"strength": PAPER_STRENGTHS},
    small={"strength": PAPER_STRENGTHS, "training": (Descent(learning_rate=1e-3, epochs=5),)},
)
class TaskArithmetic(LanguageMethod):
    """``W − α (W_ft on forget − W_pretrained)`` at every projection (Appendix E.5).

    Attributes:
        strength: α.
        training: of the pretrained model on the forget set. The defaults are TOFU's, 1e-5 for 5 epochs; small models
            need a larger rate.
        projections: the ones to edit; in the paper, all linear ones and the output head.
    """

    strength: float = 1.0
    training: Descent = field(default_factory=lambda: Descent(learning_rate=1e-5, epochs=5))
    projections: Collecting = field(default_factory=Collecting)

    def __post_init__(self) -> None:
        if not self.strength > 0.0:
            raise ConfigurationError(f"strength is above 0, not {self.strength}")

    def __call__(self, problem: TextProblem) -> nn.Module:
        return (-self.strength * self.vector(problem)).apply(problem.model, check=False, tied="untie")

    @staticmethod
    def objective(problem: TextProblem) -> Loss:
        """The loss that the pretrained model is trained on: of the forget set's answers."""
        return over_tokens(forgotten(problem), nll(problem))

    def vector(self, problem: TextProblem) -> Edit:
        """``W_ft on forget − W_pretrained``; the same for every strength.

        Raises:
            ConfigurationError: the problem has no pretrained model, or accelerate is not installed.
            SelectionError: the pretrained model has other shapes.
            TrainingError: a loss is no longer finite.
        """
        pretrained = pretrained_of(problem, self.name)
        names = self.projections.site_names(problem.model)
        own, before = (sites_by_name(model, names) for model in (problem.model, pretrained))
        for name in names:
            if own[name].weight().shape != before[name].weight().shape:
                raise SelectionError(
                    f"site {name!r} has another shape in the pretrained model; give the one that was fine-tuned"
                )
        run = run_of(self, problem, pretrained, problem.folder)
        trained = descend(copy.deepcopy(pretrained), self.objective(problem), self.training, run)
        after = sites_by_name(trained, names)
        vector = {name: after[name].weight() - before[name].weight() for name in names}
        described = {"method": self.name, "of": fingerprint(pretrained)}
        return Edit((Term(1.0, Dense(vector, fingerprint(problem.model), described)),))
