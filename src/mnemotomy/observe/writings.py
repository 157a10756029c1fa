"""What a model writes, kept piece by piece, so that an interrupted run resumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mnemotomy.core.cells import json_cells
from mnemotomy.core.keys import key
from mnemotomy.core.seeds import restore_state, state_of
from mnemotomy.core.version import versions


@dataclass
class Writings:
    """Pieces of writing in a folder; each is written once.

    Attributes:
        folder: created with the first piece; None to keep nothing.
        depends: hashes of the model and of whatever else all pieces depend on.
        device: whose random state sampling changes.
        any: whether the folder has a piece of this run.
    """

    folder: Path | None = None
    depends: Sequence[str] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    any: bool = field(default=False, init=False)

    def piece(self, about: Sequence[Any], write: Callable[[], Sequence[Any]]) -> list[Any]:
        """What ``write`` returns, or returned in an earlier run; torch's random state is the same afterwards.

        To be called within ``core.seeds.seeded``.

        Args:
            about: what it depends on besides ``depends``, as JSON values.
            write: returns JSON values.

        Raises:
            ArtifactError: the piece of an earlier run is damaged.
        """
        if self.folder is None:
            return list(write())
        found = json_cells(self.folder).kept(
            key(list(self.depends), list(about), versions()),
            lambda: {"written": list(write()), "random state": state_of(self.device)},
        )
        self.any = True
        restore_state(found["random state"], self.device)
        return list(found["written"])
