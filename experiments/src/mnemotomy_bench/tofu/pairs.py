"""A pair of models: one that learned all of TOFU, and one that never saw the forget set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from mnemotomy.core.fingerprints import check_same_tokenizer
from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
from mnemotomy.observe.questions import Observed


@dataclass(frozen=True)
class Pair:
    """Folders or hub ids.

    Attributes:
        full: the model that is to forget.
        retain: the gold model, trained the same way without the forget set.
        pretrained: the model before it learned TOFU, for methods and measures that need it.
        name: in records.
        device: where models run.
    """

    full: str
    retain: str
    pretrained: str | None = None
    name: str = "pair"
    device: str = "cpu"

    def load(self, folder: str) -> nn.Module:
        """A model of the pair, or one derived from it, on the pair's device."""
        with quiet_transformers():
            return load_model(folder, device=self.device)

    def observed(self, folder: str) -> Observed:
        """The same model, asked with the pair's tokenizer."""
        return Observed(self.load(folder), self.tokenizer)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer that all models of the pair share.

        Raises:
            ModelError: they do not share one.
        """
        tokenizer = load_tokenizer(self.full)
        for other in filter(None, (self.retain, self.pretrained)):
            check_same_tokenizer(self.full, tokenizer, other, load_tokenizer(other))
        return tokenizer
