"""The configurations of every method that are searched."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.methods.language.base import LanguageMethod
from mnemotomy.methods.language.collecting import Collecting
from mnemotomy.methods.language.loop import Descent
from mnemotomy.methods.language.npo import NPO
from mnemotomy.methods.language.registry import LANGUAGE_METHODS
from mnemotomy.methods.language.task_arithmetic import TaskArithmetic
from mnemotomy.methods.language.two_sided import TwoSided

Scale = Literal["small", "paper"]
"""``paper``: each method's own search space, made for a billion parameters. ``small``: for models of some millions."""

PAPER_SITES = ("all-linear", "output-head")
"""What the paper edits in language models (Appendix E.5): every projection, and the head, which is untied for it."""

_GENTLE, _STRONG = (1e-4, 3e-4), (1e-3, 3e-3)

SMALL: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "gradient-ascent": {"learning_rate": (3e-5, 1e-4), "epochs": (2,)},
    "grad-diff": {"learning_rate": _GENTLE, "alpha": (1.0, 5.0), "epochs": (5,)},
    "idk-nll": {"learning_rate": _STRONG, "alpha": (1.0,), "epochs": (3,)},
    "idk-dpo": {"learning_rate": _STRONG, "alpha": (1.0,), "epochs": (3,)},
    "undial": {"learning_rate": _STRONG, "beta": (3.0, 10.0), "alpha": (1.0,), "epochs": (3,)},
    "rmu": {"learning_rate": _STRONG, "steering": (1.0, 10.0), "epochs": (3,)},
    "npo": {"learning_rate": _STRONG, "alpha": (1.0,), "epochs": (5, 10)},
    "simnpo": {"learning_rate": (3e-4, *_STRONG), "delta": (0.0, 1.0), "epochs": (5,)},
    "alt-po": {"learning_rate": _STRONG, "alternates": (1,), "max_new_tokens": (100,), "epochs": (3,)},
    "rlcp": {"learning_rate": _GENTLE, "epochs": (2,)},
    "task-arithmetic": {
        "strength": (0.5, 1.0, 2.0, 5.0, 20.0), "training": (Descent(learning_rate=1e-3, epochs=5),),
    },
    "engram-projector": {"excess": (0.05, 0.07, 0.1, 0.13), "strength": (0.5, 1.0)},
    "engram-steep": {"times": (1.75, 2.0, 2.5, 3.0), "strength": (0.5, 1.0)},
    "engram-layerwise": {"strength": (0.6, 1.0, 2.0)},
    "delta-sequential": {"strength": (0.5, 1.0, 2.0)},
    "hybrid": {
        "start": (TwoSided(),), "then": tuple(NPO(learning_rate=rate, epochs=1) for rate in (3e-5, 1e-4)),
    },
}  # fmt: skip
"""What is searched at the small scale; methods that are not here search their own space.

Rates move a model of some millions of parameters as far as OpenUnlearning's move one of a billion; epochs are as many
as a processor without an accelerator allows. On tofu-tiny, NPO and SimNPO at 3e-4 hardly forget, and NPO gains up to
3e-3, the rate of the fine-tuning three times over, so that all losses that are bounded below are tried at high rates.
"""


def configurations(kind: type[LanguageMethod], scale: Scale) -> tuple[LanguageMethod, ...]:
    """What is searched of one method at a scale: at least its defaults."""
    if scale == "paper" or kind.name not in SMALL:
        return tuple(map(_on_paper_sites, kind.grid()))
    values = SMALL[kind.name]
    combinations = itertools.product(*values.values())
    return tuple(_on_paper_sites(cast(Any, kind)(**dict(zip(values, some, strict=True)))) for some in combinations)


def _on_paper_sites(method: LanguageMethod) -> LanguageMethod:
    """The method at the sites of the paper, where it is a closed form that would leave the head alone."""
    if isinstance(method, Collecting):
        return replace(method, sites=PAPER_SITES)
    if isinstance(method, TaskArithmetic):
        return replace(method, projections=replace(method.projections, sites=PAPER_SITES))
    return method


def chosen_methods(names: Sequence[str]) -> dict[str, type[LanguageMethod]]:
    """The methods of these names, all where there is no name.

    Raises:
        ConfigurationError: there is no such method.
    """
    for name in names:
        if name not in LANGUAGE_METHODS:
            raise ConfigurationError(f"there is no method {name!r}; choose among {', '.join(LANGUAGE_METHODS)}")
    return {name: kind for name, kind in LANGUAGE_METHODS.items() if not names or name in names}
