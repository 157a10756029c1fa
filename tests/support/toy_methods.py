"""What methods made for one test have in common."""

from __future__ import annotations

from typing import ClassVar

from mnemotomy.methods.language.problem import LanguageMethod


class ToyLanguageMethod(LanguageMethod):
    """A method by nobody; its name, title and call are still missing."""

    paper: ClassVar = "nobody's"
    family: ClassVar = "closed form"
    cost: ClassVar = "nothing"
