"""What a model writes, kept piece by piece."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mnemotomy.core.errors import ArtifactError
from mnemotomy.core.seeds import seeded
from mnemotomy.observe.writings import Writings

CPU = torch.device("cpu")


def drawn(writings: Writings, pieces: int) -> list[float]:
    with seeded(7, CPU):
        return [writings.piece(["a", number], torch.rand(1).tolist)[0] for number in range(pieces)]


def test_a_resumed_run_draws_what_a_whole_one_does(tmp_path: Path) -> None:
    whole = drawn(Writings(), 4)
    first, again, other = (Writings(tmp_path / "kept", (model,)) for model in ("m", "m", "n"))
    assert not first.any
    assert drawn(first, 2) == whole[:2]
    assert first.any
    state = torch.get_rng_state()
    assert drawn(again, 4) == whole
    assert bool((torch.get_rng_state() == state).all())
    assert len(list((tmp_path / "kept").iterdir())) == 4
    drawn(other, 1)  # of another model
    assert len(list((tmp_path / "kept").iterdir())) == 5


def test_a_damaged_piece_is_named(tmp_path: Path) -> None:
    drawn(Writings(tmp_path), 1)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace("0.", "1."))
    with pytest.raises(ArtifactError, match="remove it to compute it again"):
        drawn(Writings(tmp_path), 1)
