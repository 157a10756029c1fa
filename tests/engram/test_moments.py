"""Moments as a value: adding, grouping, saving; and collections that are interrupted or spread over processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import QUIET, Network, close, identical, moments_of, randn, relative, tokens
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.core.errors import (
    ArtifactError,
    ConceptError,
    ConfigurationError,
    FingerprintError,
    MergeError,
    SelectionError,
)
from mnemotomy.core.integrity import BLANK, seal
from mnemotomy.engram import products
from mnemotomy.engram.products import pack, unpack


@pytest.fixture(scope="module")
def network() -> Network:
    return Network()


@pytest.fixture
def moments(network: Network) -> mt.Moments:
    return moments_of(network, a=tokens(3, 0), b=tokens(4, 1), c=tokens(2, 2))


def test_save_and_load_give_every_bit_back(moments: mt.Moments, tmp_path: Path):
    moments.save(tmp_path / "m.safetensors")
    assert identical(mt.Moments.load(tmp_path / "m.safetensors"), moments)
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("gathered", [0, 100], ids=["row by row", "gathered"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (3, 4, 4), (7,)])
def test_triangles_are_packed_without_loss(shape: tuple[int, ...], gathered: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(products, "_GATHERED", gathered)
    matrix = randn(*shape)
    matrix = matrix + matrix.mT if len(shape) > 1 else matrix
    packed = pack(matrix)
    if len(shape) > 1:
        row, column = np.triu_indices(shape[-1])
        assert np.array_equal(packed.numpy(), matrix.numpy()[..., row, column])
    assert torch.equal(unpack(packed, list(shape)), matrix)


def rewritten(path: Path, **changes: Any) -> None:
    """Other entries in the header of a file, which is whole again afterwards."""
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        described = json.loads(file.metadata()["mnemotomy"])
    described["content"] = BLANK
    for name, value in changes.items():
        (described if name in described else described["header"])[name] = value
    save_file(tensors, path, metadata={"mnemotomy": json.dumps(described)})
    seal(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "99"},
        {"version": "x"},
        {"header": "{"},
        {"header": 3},
        {"header": {}},
        {"format": "other"},
        {"statistics": {"": {"a": {"key": "9.9", "shape": [2, 2], "count": 1}}}},
        {"statistics": {"": {"a": {"key": "0.0", "shape": [2, 2], "count": 1}}}},
        {"statistics": []},
        {"origin": {"fingerprint": "x"}},
    ],
    ids=str,
)
def test_a_file_of_another_kind_is_refused(moments: mt.Moments, tmp_path: Path, changes: dict[str, Any]):
    path = tmp_path / "m.safetensors"
    moments.save(path)
    rewritten(path, **changes)
    with pytest.raises(ArtifactError, match=r"m\.safetensors"):
        mt.Moments.load(path)


def test_damaged_truncated_missing_and_foreign_files_are_refused(moments: mt.Moments, tmp_path: Path):
    path = tmp_path / "m.safetensors"
    moments.save(path)
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], content[:6], b"", b"not a tensor file" * 9):
        path.write_bytes(broken)
        with pytest.raises(ArtifactError, match="is damaged"):
            mt.Moments.load(path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(ArtifactError, match="is not a moments file"):
        mt.Moments.load(path)
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(ArtifactError, match="does not exist"):
            mt.Moments.load(missing)


def test_moments_of_another_model_are_refused(network: Network, moments: mt.Moments):
    other = Network()
    with torch.no_grad():
        other.out.weight[0, 0] += 1
    with pytest.raises(FingerprintError, match="collected on another model"):
        mt.Atlas(other, moments)
    mt.Atlas(other, moments, check=False)
    with pytest.raises(MergeError, match="two different models"):
        moments_of(other, a=tokens(2, 0), b=tokens(2, 0)) + moments


def test_unknown_names(moments: mt.Moments):
    with pytest.raises(SelectionError, match="no moments of site 'x'; there are 'embed'"):
        moments.moment("x", "a")
    with pytest.raises(ConceptError, match="no concept 'x'; there are 'a', 'b', 'c'"):
        moments.count("out", "x")


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_moments_are_additive_over_any_split_of_the_data(data: st.DataObject):
    """Rows dealt into concepts, batches and collections at random: merged, they are one collection's, in any order."""
    model, rows = Network(), 12
    x = tokens(rows, 7)
    concept = [data.draw(st.sampled_from("abc")) for _ in range(rows - 3)] + ["a", "b", "c"]
    collection = [data.draw(st.integers(0, 2)) for _ in range(rows)]
    order = data.draw(st.permutations(range(rows)))
    size = data.draw(st.integers(1, 5))
    whole = mt.collect(model, {c: [x[[k == c for k in concept]]] for c in "abc"}, sites="all", options=QUIET)
    parts = []
    for number in range(3):
        mine = [i for i in order if collection[i] == number]
        batches = [mine[i : i + size] for i in range(0, len(mine), size)]
        if batches:
            loader = [(x[rows], [concept[i] for i in rows]) for rows in batches]
            parts.append(mt.collect(model, loader, concepts=lambda batch: batch[1], sites="all", options=QUIET))
    merged = parts[0]
    for part in parts[1:]:
        merged = merged + part
    assert close(merged, whole)
    assert merged.origin.examples == {c: concept.count(c) for c in merged.concepts}
    weights = [dict(mt.Atlas(model, moments)["a"].items()) for moments in (merged, whole)]
    assert all(relative(weights[0][site], weights[1][site]) < 1e-3 for site in whole.readers)


def test_what_was_shared_on_one_side_only_can_be_saved(tmp_path: Path):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.one(x) + self.two(x)

    shared = mt.collect(Two(), {"a": [randn(6, 4)]}, options=QUIET)
    apart = mt.collect(Two(), {"b": [randn(6, 4)]}, options=mt.CollectOptions(progress=False, share_inputs=False))
    merged = shared + apart
    merged.save(tmp_path / "m.safetensors")
    assert identical(mt.Moments.load(tmp_path / "m.safetensors"), merged)


def test_moments_of_other_sites_cannot_be_added(network: Network, moments: mt.Moments):
    some = mt.collect(network, {"a": [tokens(2, 0)], "b": [tokens(2, 1)]}, sites=["out"], options=QUIET)
    with pytest.raises(MergeError, match="'conv' is only in one of them"):
        moments + some


def test_groups_are_unions(network: Network, moments: mt.Moments):
    grouped = moments.group({"ab": ["a", "b"]})
    expected = moments_of(network, ab=torch.cat([tokens(3, 0), tokens(4, 1)]), c=tokens(2, 2))
    assert close(grouped, expected)
    assert grouped.origin.examples == {"c": 2, "ab": 7}
    assert close(moments.group({"a": ["a", "b"]}).group({"ab": ["a"]}), expected)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"x": ["a", "z"]}, "no concept 'z'"),
        ({"x": ["a"], "y": ["a"]}, "is given twice"),
        ({"x": ["a", "a"]}, "is given twice"),
        ({"x": []}, "is empty"),
        ({"c": ["a", "b"]}, "group 'c' would replace the concept"),
    ],
)
def test_groups_that_would_lose_or_repeat_rows_are_refused(moments: mt.Moments, groups: Any, message: str):
    with pytest.raises(ConceptError, match=message):
        moments.group(groups)


def test_concepts_that_weigh_more_are_as_if_read_more_often(network: Network, moments: mt.Moments):
    found = moments.repeated({"b": 3})
    assert close(found, moments_of(network, a=tokens(3, 0), b=tokens(4, 1).repeat(3, 1), c=tokens(2, 2)))
    assert found.origin.examples == {"a": 3, "b": 12, "c": 2}
    with pytest.raises(ConceptError, match="no concept 'z'"):
        moments.repeated({"z": 2})
    with pytest.raises(ConfigurationError, match="for 'b'"):
        moments.repeated({"b": 0})


def test_moments_move_and_describe_themselves(moments: mt.Moments):
    assert identical(moments.to("cpu"), moments)
    described = moments.describe()
    assert described["distinct_inputs"] == described["sites"] == 4
    assert described["selector"] == "all"
    json.dumps(described)
