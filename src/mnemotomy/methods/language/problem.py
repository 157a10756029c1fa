"""What an unlearning method for language models is given. Never a test question, never the gold model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from mnemotomy.core.errors import ConceptError, ModelError
from mnemotomy.core.models import check_language_model
from mnemotomy.text.answers import OPEN_UNLEARNING, Template
from mnemotomy.text.records import TextExample


@dataclass(frozen=True)
class TextProblem:
    """One request to forget.

    Attributes:
        model: a causal language model of transformers, trained on both sets; methods leave it as it is.
        tokenizer: the model's.
        forget: the examples ``X⁺`` to forget.
        retain: what is to stay, ``X⁻``.
        template: what stands around questions and answers, as the evaluation has it.
        pretrained: the model before it learned either set, for methods that start from what it learned since.
        seed: of whatever a method draws at random.

    Raises:
        ConceptError: one of the sets is empty.
        ModelError: the model predicts no tokens, lacks some of the tokenizer's, or has an adapter that is not merged.
    """

    model: nn.Module
    tokenizer: Any
    forget: Sequence[TextExample]
    retain: Sequence[TextExample]
    template: Template = OPEN_UNLEARNING
    pretrained: nn.Module | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, examples in (("forget", self.forget), ("retain", self.retain)):
            if not examples:
                raise ConceptError(f"there is nothing to {name}: that set is empty; give at least one example")
        check_language_model(self.model, self.tokenizer)
        if any(type(module).__module__.startswith("peft.") for module in self.model.modules()):
            raise ModelError(
                "the model has an adapter, and methods take whole weights, not its parts; merge it first, with "
                "model.merge_and_unload() of peft"
            )
