"""Edits as files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import same_state, state_of
from safetensors.torch import save_file
from torch import nn

import mnemotomy as mt
from mnemotomy.core.errors import ArtifactError


def test_save_and_load(model: nn.Sequential, atlas: mt.Atlas, tmp_path: Path):
    path = tmp_path / "edit.safetensors"
    edit = mt.erase(atlas, ["a", "b"], "weight-norm", mt.Hard(0.4)) + 0.5 * atlas["c"]
    edit.save(path)
    loaded = mt.Edit.load(path)
    assert loaded.fingerprint == mt.fingerprint(model)
    assert loaded.describe()["terms"] == edit.describe()["terms"]
    assert loaded.describe()["terms"][0]["filter"] == {"kind": "hard", "threshold": 0.4}
    assert loaded.describe()["terms"][0]["cut"] == {"kind": "relative", "ratio": 1e-6}
    for site in ("0", "2"):
        assert torch.equal(loaded[site], edit[site])
    assert same_state(loaded.apply(model), state_of(edit.apply(model)))
    for scaled in (-2.0 * loaded, -2.0 * edit.materialize()):  # strengths are recorded as they are in the end
        assert scaled.describe()["terms"] == (-2.0 * edit).describe()["terms"]
    assert mt.inject(atlas, "a").materialize().describe()["strength"] == 1.0
    assert same_state((0.5 * loaded).apply(model), state_of((0.5 * edit).apply(model)))


def test_files_that_are_no_edit(atlas: mt.Atlas, tmp_path: Path):
    path = tmp_path / "edit.safetensors"
    mt.erase(atlas, "a").save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(ArtifactError, match="damaged"):
        mt.Edit.load(path)
    for header in ("{", "{}", "3"):
        save_file({"0": torch.zeros(2)}, path, metadata={"format": "mnemotomy-edit", "version": "1", "header": header})
        with pytest.raises(ArtifactError, match="damaged"):
            mt.Edit.load(path)
    atlas.moments.save(path)
    with pytest.raises(ArtifactError, match="is not an edit"):
        mt.Edit.load(path)
    with pytest.raises(ArtifactError, match="does not exist"):
        mt.Edit.load(tmp_path / "none")
