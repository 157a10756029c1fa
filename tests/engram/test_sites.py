"""Every kind of site against brute force: its rows times its canonical weight are the module's own output."""

from __future__ import annotations

import pytest
import torch
from helpers import QUIET, captured, gram, only_site, randn, random_delta, relative, rows_of, total
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

import mnemotomy as mt
from mnemotomy.engram.sites import Site, all_sites
from mnemotomy.engram.sites.layout import patch_moments

LINEAR = {
    "2d": (lambda: nn.Linear(5, 4), (6, 5)),
    "3d": (lambda: nn.Linear(5, 4), (6, 3, 5)),
    "4d": (lambda: nn.Linear(5, 4, bias=False), (6, 2, 3, 5)),
    "conv1d": (lambda: Conv1D(4, 5), (6, 3, 5)),
    "conv1d 2d": (lambda: Conv1D(4, 5), (6, 5)),
}
MODES = ("zeros", "reflect", "replicate", "circular")
CONVOLUTIONS = {
    "1d": (lambda: nn.Conv1d(4, 6, 3), (4, 4, 9)),
    "1d dilated strided": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2), (4, 4, 9)),
    "1d causal groups": (lambda: nn.Conv1d(4, 4, 4, padding=3, groups=4), (4, 4, 9)),
    "1x1": (lambda: nn.Conv2d(4, 6, 1, bias=False), (4, 4, 3, 5)),
    "patch embedding": (lambda: nn.Conv2d(3, 6, 4, stride=4), (4, 3, 8, 8)),
    "rectangular": (lambda: nn.Conv2d(3, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (4, 3, 7, 8)),
    "stride beyond kernel": (lambda: nn.Conv2d(3, 6, 2, stride=3), (4, 3, 7, 7)),
    "groups": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 4, 6, 5)),
    "groups without bias": (lambda: nn.Conv2d(6, 6, 3, stride=2, groups=3, bias=False), (4, 6, 6, 5)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4), (4, 4, 5, 5)),
    "valid": (lambda: nn.Conv2d(3, 5, 3, padding="valid"), (4, 3, 6, 6)),
    "3d": (lambda: nn.Conv3d(2, 5, (2, 3, 2), stride=(1, 2, 1), padding=1), (4, 2, 4, 5, 4)),
    "3d groups dilated": (lambda: nn.Conv3d(4, 4, 2, dilation=2, groups=2), (4, 4, 4, 5, 4)),
    "unbatched": (lambda: nn.Conv2d(3, 5, 3, padding=1), (3, 6, 6)),
    **{f"{m} 1d": (lambda m=m: nn.Conv1d(3, 5, 3, padding=2, padding_mode=m), (4, 3, 7)) for m in MODES},
    **{f"{m} 2d": (lambda m=m: nn.Conv2d(3, 5, 3, padding=(2, 1), padding_mode=m), (4, 3, 5, 6)) for m in MODES},
    **{f"{m} 3d": (lambda m=m: nn.Conv3d(2, 5, 2, padding=1, padding_mode=m), (4, 2, 4, 4, 4)) for m in MODES},
    **{
        f"same {m} even": (lambda m=m: nn.Conv2d(3, 5, (2, 4), dilation=(1, 2), padding="same", padding_mode=m),
                           (4, 3, 8, 9))
        for m in MODES
    },
    "same 1d": (lambda: nn.Conv1d(3, 5, 4, padding="same"), (4, 3, 7)),
}  # fmt: skip
TRANSPOSED = {
    "1d": (lambda: nn.ConvTranspose1d(4, 6, 3), (4, 4, 7), {}),
    "1d everything": (
        lambda: nn.ConvTranspose1d(4, 6, 3, stride=3, padding=1, output_padding=2, dilation=2, groups=2),
        (4, 4, 5),
        {},
    ),
    "2d": (lambda: nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1), (4, 3, 4, 5), {}),
    "2d no bias": (lambda: nn.ConvTranspose2d(3, 5, (2, 3), stride=(1, 2), bias=False), (4, 3, 4, 5), {}),
    "2d output padding": (
        lambda: nn.ConvTranspose2d(3, 5, 3, stride=(2, 3), padding=1, output_padding=(1, 2)),
        (4, 3, 3, 4),
        {},
    ),
    "2d cropped": (lambda: nn.ConvTranspose2d(3, 5, 2, stride=2, padding=3), (4, 3, 6, 6), {}),
    "2d dilated groups": (lambda: nn.ConvTranspose2d(4, 6, 3, dilation=2, groups=2), (4, 4, 3, 4), {}),
    "2d depthwise": (lambda: nn.ConvTranspose2d(4, 8, 3, stride=2, groups=4), (4, 4, 3, 4), {}),
    "2d output size": (lambda: nn.ConvTranspose2d(3, 5, 3, stride=2), (4, 3, 4, 4), {"output_size": [10, 9]}),
    "1d output size with batch": (
        lambda: nn.ConvTranspose1d(3, 5, 3, stride=3, padding=1),
        (4, 3, 4),
        {"output_size": [4, 5, 12]},
    ),
    "3d": (lambda: nn.ConvTranspose3d(2, 4, 2, stride=2, padding=1, output_padding=1), (4, 2, 3, 3, 3), {}),
    "unbatched": (lambda: nn.ConvTranspose2d(3, 5, 3), (3, 4, 4), {}),
}


def affine(site: Site, rows: Tensor, weight: Tensor) -> Tensor:
    """``[..., positions, out]`` from rows and a canonical weight, block by block where there are groups."""
    if site.groups == 1:
        return rows @ weight.T
    return torch.einsum("...gd,god->...go", rows, weight.unflatten(0, (site.groups, -1))).flatten(-2)


def channels_last(site: Site, output: Tensor) -> Tensor:
    spatial = len(site.module.kernel_size) if hasattr(site.module, "kernel_size") else 0
    if not spatial:
        return output
    output = output if output.dim() == spatial + 2 else output[None]
    return output.flatten(2).transpose(1, 2)


def check_module(module: nn.Module, x: Tensor, **arguments: object) -> None:
    """One site: output, edit, and undoing it."""
    site = only_site(module)
    with torch.no_grad(), captured({site.name: site}) as readings:
        before = module(x, **arguments)
    (reading,) = readings[site.name]
    rows, weight = rows_of(site, reading), site.weight().clone()
    torch.testing.assert_close(affine(site, rows, weight), channels_last(site, before), atol=1e-5, rtol=1e-5)
    delta = random_delta(site)
    site.add_(delta)
    with torch.no_grad():
        after = channels_last(site, module(x, **arguments))
    torch.testing.assert_close(after, affine(site, rows, weight + delta), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(site.weight(), weight + delta)
    site.add_(-delta)
    torch.testing.assert_close(site.weight(), weight, atol=1e-6, rtol=0)


def check_moments(module: nn.Module, x: Tensor, **arguments: object) -> None:
    """Σ per concept, for a batch in which two concepts alternate."""
    site = only_site(module)
    with torch.no_grad(), captured({site.name: site}) as readings:
        module(x, **arguments)
    rows = rows_of(site, readings[site.name][0])
    labels = [i % 2 for i in range(x.shape[0])]
    options = mt.CollectOptions(progress=False, forward=lambda model, batch: model(batch, **arguments))
    moments = mt.collect(module, [x], concepts=lambda batch: labels, sites="all", options=options)
    for concept in (0, 1):
        mine = rows[torch.tensor(labels) == concept].flatten(0, -2 if site.groups == 1 else -3)
        expected = gram(mine if site.groups == 1 else mine.transpose(0, 1))
        assert relative(total(moments, site.name, str(concept), site.has_bias), expected) < 1e-6
        assert moments.count(site.name, str(concept)) == mine.shape[0]


@pytest.mark.parametrize("case", LINEAR)
def test_linear_rows_times_weight_are_the_output(case: str):
    make, shape = LINEAR[case]
    check_module(make(), randn(*shape))
    check_moments(make(), randn(*shape))


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution_rows_times_weight_are_the_output(case: str):
    make, shape = CONVOLUTIONS[case]
    check_module(make(), randn(*shape))
    if case != "unbatched":
        check_moments(make(), randn(*shape))


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_convolution_rows_times_weight_are_the_output(case: str):
    make, shape, arguments = TRANSPOSED[case]
    check_module(make(), randn(*shape), **arguments)
    if case != "unbatched":
        check_moments(make(), randn(*shape), **arguments)


@pytest.mark.parametrize(
    ("cases", "case"), [(CONVOLUTIONS, c) for c in CONVOLUTIONS] + [(TRANSPOSED, c) for c in TRANSPOSED]
)
def test_rows_in_the_quicker_order_have_the_same_moments(cases: dict, case: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mnemotomy.engram.sites.layout.MANY_ROWS", 0)
    make, shape, *arguments = cases[case]
    if case != "unbatched":
        check_moments(make(), randn(*shape), **(arguments[0] if arguments else {}))


def test_many_rows_are_cut_in_the_quicker_order():
    layout = only_site(nn.Conv2d(3, 4, 3, padding=1)).layout()
    rows, quick = layout.rows(randn(9, 3, 8, 8)), layout.quick_rows(randn(9, 3, 8, 8))
    assert quick is not None
    assert quick.shape == rows.shape
    assert layout.quick_rows(randn(1, 3, 8, 8)) is None  # 64 rows of 27 do not make up for it
    assert only_site(nn.Conv2d(4, 4, 3, groups=2)).layout().quick_rows(randn(99, 4, 8, 8)) is None


@pytest.mark.parametrize("shape", [(3, 2, 1, 1), (2, 3, 2, 5), (4, 5, 7, 3), (1, 4, 8, 8)])
def test_moments_of_patches_without_the_patches(shape: tuple[int, ...]):
    layout, images = only_site(nn.Conv2d(shape[1], 4, 3, padding=1)).layout(), randn(*shape).double()
    rows = layout.rows(images).flatten(0, -2)
    second, first = (layout.in_order(sums) for sums in patch_moments(images))
    torch.testing.assert_close(second, rows.T @ rows)
    torch.testing.assert_close(first, rows.sum(0))


def test_patches_are_spared_where_that_is_quicker():
    def spares(module: nn.Module, *shape: int) -> bool:
        return only_site(module).layout().quick_moments(randn(*shape)) is not None

    usual = nn.Conv2d(3, 4, 3, padding=1)
    assert spares(usual, 2, 3, 8, 8)
    assert not spares(usual, 9, 3, 4, 4)  # low images
    assert not spares(nn.Conv2d(128, 4, 3, padding=1), 2, 128, 8, 8)  # few rows
    for other in (
        nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 3, 3, padding=1, groups=3),
        nn.Conv2d(3, 4, 3, padding=2, dilation=2), nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 4, 5, padding=2), nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1),
    ):  # fmt: skip
        assert not spares(other, 2, 3, 8, 8)
    assert spares(nn.ConvTranspose2d(3, 4, 3, padding=1), 2, 3, 8, 8)  # a convolution with its kernel turned


@pytest.mark.parametrize("make", [nn.Conv2d, nn.ConvTranspose2d])
def test_moments_without_patches_are_collected_by_concept(make: type[nn.Module]):
    check_moments(make(3, 4, 3, padding=1), randn(6, 3, 8, 7))


def test_output_size_of_one_call_does_not_reach_the_next():
    module = nn.ConvTranspose1d(2, 3, 3, stride=3)
    module(randn(2, 2, 4), output_size=[14])
    site = only_site(module)
    with torch.no_grad(), captured({site.name: site}) as readings:
        module(randn(2, 2, 4), output_size=[14])
        module(randn(2, 2, 4))
    assert [rows_of(site, reading).shape[1] for reading in readings[site.name]] == [14, 12]


def test_convolutions_in_chunks_have_the_same_moments(monkeypatch: pytest.MonkeyPatch):
    module, x = nn.Conv2d(3, 4, 3, padding=1), randn(5, 3, 6, 6)
    whole = mt.collect(module, {"a": [x[:3]], "b": [x[3:]]}, sites="all", options=QUIET)
    monkeypatch.setattr("mnemotomy.engram.accumulator.CHUNK_BYTES", 1)
    parts = mt.collect(module, [x], concepts=lambda b: ["a"] * 3 + ["b"] * 2, sites="all", options=QUIET)
    for concept in ("a", "b"):
        assert relative(total(parts, "", concept), total(whole, "", concept)) < 1e-6


@pytest.mark.parametrize("shape", [(6,), (4, 3), (2, 3, 2)])
def test_embedding_is_an_affine_map_on_one_hot_rows(shape: tuple[int, ...]):
    module = nn.Embedding(7, 4)
    x = torch.randint(0, 7, shape)
    check_module(module, x)
    moments = mt.collect(module, [x], concepts=lambda b: [i % 2 for i in range(len(b))], sites="all", options=QUIET)
    for concept in (0, 1):
        counts = torch.bincount(x[concept::2].reshape(-1), minlength=7)
        assert torch.equal(total(moments, "", str(concept)), counts.float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_edit_is_rounded_once_to_the_weights_dtype(dtype: torch.dtype):
    module = nn.Linear(5, 4).to(dtype)
    site = only_site(module)
    weight, delta = site.weight().clone(), random_delta(site)
    assert weight.dtype == torch.float32
    site.add_(delta)
    assert torch.equal(site.weight(), (weight + delta).to(dtype).float())


def test_kind_and_layer_come_from_the_name():
    model = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"q_proj": nn.Linear(2, 2)}) for _ in range(3)])})
    sites = all_sites(model)
    assert [(site.kind, site.layer) for site in sites.values()] == [("q_proj", 0), ("q_proj", 1), ("q_proj", 2)]
