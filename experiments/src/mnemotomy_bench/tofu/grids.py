"""The configurations that are searched: each method's own search space, at the sites of the paper."""

from __future__ import annotations

from dataclasses import replace

from mnemotomy.methods.base import Scale
from mnemotomy.methods.language.collecting import Collecting
from mnemotomy.methods.language.problem import LanguageMethod
from mnemotomy.methods.language.task_arithmetic import TaskArithmetic

PAPER_SITES = ("all-linear", "output-head")
"""What the paper edits in language models (Appendix E.5): every projection, and the head, untied first."""


def configurations(kind: type[LanguageMethod], scale: Scale) -> tuple[LanguageMethod, ...]:
    """The configurations of one method to search at a scale: at least its defaults."""
    return tuple(map(_on_paper_sites, kind.grid(scale)))


def as_written_now(configuration: str) -> str:
    """A recorded configuration in today's settings: earlier records have ``kinds`` and ``embeddings``."""
    old = "kinds=None, layers=None, positions='answer', embeddings=False,"
    new = f"sites={PAPER_SITES!r}, layers=None, positions='answer',"
    return configuration.replace(old, new).replace("kinds=None, layers=None,", "sites='all-linear', layers=None,")


def _on_paper_sites(method: LanguageMethod) -> LanguageMethod:
    """The method at the sites of the paper, if it is a closed form that would leave the head alone."""
    if isinstance(method, Collecting):
        return replace(method, sites=PAPER_SITES)
    if isinstance(method, TaskArithmetic):
        return replace(method, projections=replace(method.projections, sites=PAPER_SITES))
    return method
