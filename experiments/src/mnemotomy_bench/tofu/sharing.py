"""Closed forms in a search: what does not depend on strength or filter is computed once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from torch import nn

from mnemotomy.engram.atlas import Atlas
from mnemotomy.methods.language.closed_form import ClosedForm, MomentsEdit
from mnemotomy.methods.language.collecting import Collecting
from mnemotomy.methods.language.delta import DeltaWeights
from mnemotomy.methods.language.problem import LanguageMethod, TextProblem
from mnemotomy.methods.language.task_arithmetic import TaskArithmetic


@dataclass
class Sharing:
    """What configurations on one problem share: the last atlas and the last task vector."""

    problem: TextProblem
    _kept: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def treated(self, method: LanguageMethod) -> nn.Module:
        """The result of ``method(problem)``, faster if an earlier configuration has done part of the work."""
        model = self.problem.model
        if isinstance(method, TaskArithmetic):
            vector = self._once(
                "vector", dataclasses.replace(method, strength=1.0), lambda: method.vector(self.problem)
            )
            return cast(nn.Module, (-method.strength * vector).apply(model, check=False, tied="untie"))
        if isinstance(method, MomentsEdit) and method.rounds == 1:
            return method.edit(self.atlas(method)).apply(model, check=False, tied="untie")
        return method(self.problem)

    def atlas(self, method: ClosedForm) -> Atlas:
        """The engrams of both sets, as ``method`` collects and cuts them."""
        read = tuple(getattr(method, one.name) for one in dataclasses.fields(Collecting))
        moments = self._once("moments", read, lambda: method.moments(self.problem.model, self.problem))
        base = isinstance(method, DeltaWeights)
        return cast(
            Atlas,
            self._once(
                "atlas", (read, method.cut, base), lambda: method.atlas(self.problem.model, moments, self.problem)
            ),
        )

    def _once(self, what: str, key: Any, make: Callable[[], Any]) -> Any:
        if what not in self._kept or self._kept[what][0] != key:
            self._kept[what] = (key, make())
        return self._kept[what][1]
