"""Hybrid: a closed-form edit, then a few gradient steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from torch import nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.methods.language.gradient import GradientMethod
from mnemotomy.methods.language.npo import NPO
from mnemotomy.methods.language.problem import LanguageMethod, TextProblem
from mnemotomy.methods.language.two_sided import TwoSided
from mnemotomy.methods.registry import method_named, register


@register(
    "hybrid",
    "Closed form, then NPO",
    "ours, on Kwon et al. 2026 and Zhang et al. 2024",
    family="hybrid",
    draws=True,
    cost="the closed form, and 1 epoch of both sets, forwards and backwards",
    grid={"then": tuple(NPO(learning_rate=rate, epochs=1) for rate in (1e-5, 2e-5, 5e-5))},
    small={"start": (TwoSided(),), "then": tuple(NPO(learning_rate=rate, epochs=1) for rate in (3e-5, 1e-4))},
)
class Hybrid(LanguageMethod):
    """``then``, trained from the result of ``start``; its reference is the model before the edit.

    Attributes:
        start: a closed-form method, or its name for its defaults.
        then: the gradient method that trains from there, for a few epochs.

    Raises:
        ConfigurationError: ``start`` is not a closed-form method, or ``then`` not a gradient method.
    """

    start: LanguageMethod | str = "two-sided"
    then: GradientMethod = field(default_factory=lambda: NPO(epochs=1))

    def __post_init__(self) -> None:
        if not isinstance(self.then, GradientMethod):
            raise ConfigurationError(f"then must be a gradient method, not {getattr(self.then, 'name', self.then)}")
        self._start()

    def __call__(self, problem: TextProblem) -> nn.Module:
        return self.then.train(problem, self._start()(problem), problem.folder)

    def material(self) -> Sequence[str]:
        return (*self._start().material(), *self.then.material())

    def _start(self) -> LanguageMethod:
        found = method_named("language models", self.start)() if isinstance(self.start, str) else self.start
        if not isinstance(found, LanguageMethod) or found.family != "closed form":
            raise ConfigurationError(
                f"start must be a closed-form method, not {getattr(self.start, 'name', self.start)}"
            )
        return found
