"""Numbers that nothing around the call may change: precision, range, padding, wrappers, the order of batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers import QUIET, Wrapper, gram, mlp, randn, relative, same_state, state_of, text_batch, tiny_llama, total
from torch import Tensor, nn
from torch.nn.utils import prune

import mnemotomy as mt
from mnemotomy.core.errors import ArtifactError, DataError, NonFiniteError, RowsError, SelectionError

FLOAT64 = mt.CollectOptions(progress=False, dtype=torch.float64)


# range and precision


def two_concepts(scale: float = 1.0) -> dict[str, list[Tensor]]:
    uneven = torch.tensor([1e3, *[1.0] * 11])  # so that the cut is near what is kept
    return {"a": [randn(40, 12, seed=1) * uneven * scale], "b": [randn(80, 12, seed=2) * uneven * scale]}


def engram(model: nn.Module, data: Any, options: mt.CollectOptions = QUIET, **selection: Any) -> mt.Engram:
    return mt.Atlas(model, mt.collect(model, data, options=options, **selection))["a"]


@pytest.mark.parametrize("scale", [1e-15, 1e-8, 1e8, 1e12, 1e15])
def test_an_engram_does_not_depend_on_the_scale_of_its_inputs(scale: float):
    model = mlp(12, 5, bias=False)
    assert relative(engram(model, two_concepts(scale))["0"], engram(model, two_concepts())["0"]) < 1e-5


def test_a_cut_holds_for_sums_beyond_the_squares_of_float32():
    model, rows = mlp(12, 5, bias=False), two_concepts()
    rows["a"][0][:, 1:] *= 1e-6  # of ``a`` and ``b`` these directions lie below the cut
    rows["b"][0][:, 1:] *= 1e-6
    large = {name: [1e12 * rows[name][0]] for name in rows}
    found = engram(model, large)["0"]
    assert relative(found, engram(model, rows)["0"]) < 1e-5
    assert float(found[:, 1:].norm()) < 1e-3 * float(found.norm())


def test_inputs_whose_squares_vanish_are_refused_in_float32_and_right_in_float64():
    model = mlp(12, 5, bias=False)
    with pytest.raises(DataError, match=r"site '0' are so small for concept 'a'.*float64"):
        mt.collect(model, two_concepts(1e-22), options=QUIET)
    found = engram(model, two_concepts(1e-22), FLOAT64)["0"]
    assert relative(found, engram(model, two_concepts())["0"]) < 1e-5


def test_inputs_that_are_zero_are_no_error():
    data = {"a": [torch.zeros(6, 4)], "b": [randn(6, 4)]}
    assert float(engram(mlp(4, 3, bias=False), data)["0"].norm()) == 0.0


def test_a_row_in_every_batch_does_not_make_the_sums_drift():
    sink = 30 * randn(8, seed=7)

    def batches() -> Iterator[Tensor]:
        draw = torch.Generator().manual_seed(1)
        for _ in range(3000):
            batch = torch.randn(4, 8, generator=draw)
            batch[0] = sink
            yield batch

    moments = mt.collect(mlp(8, 4, bias=False), {"b": batches(), "a": [randn(10, 8)]}, options=QUIET)
    expected = sum(gram(batch) for batch in batches())
    assert relative(total(moments, "0", "b"), expected) < 2e-7  # rounded once; float32 sums are off by 2e-4
    assert moments.moment("0", "b").second.dtype == torch.float32


def test_autocast_around_the_calls_changes_nothing():
    model, data = mlp(12, 16, 5), two_concepts()
    expected = engram(model, data)
    with torch.autocast("cpu", torch.bfloat16):
        atlas = mt.Atlas(model, mt.collect(model, data, options=QUIET))
        found = {site: atlas["a"][site] for site in expected.sites()}
        outputs = mt.erase(atlas, "a", filter=mt.Hard(0.3), outputs=True)["0"]
        assert torch.is_autocast_enabled("cpu")
    assert all(torch.equal(found[site], expected[site]) for site in expected.sites())
    assert torch.equal(outputs, mt.erase(expected.atlas, "a", filter=mt.Hard(0.3), outputs=True)["0"])


def test_an_edit_beyond_float16_is_refused_and_nothing_is_edited():
    model = mlp(12, 16, 5)
    edit = (1e7 * mt.erase(mt.Atlas(model, mt.collect(model, two_concepts(), options=QUIET)), "a")).materialize()
    half, before = model.half(), state_of(model.half())
    with pytest.raises(NonFiniteError, match="float16 ends at 65504"):
        edit.apply_(half, check=False)
    assert same_state(half, before)


# which rows count


class Written(nn.Module):
    """A causal convolution along a text, as in LFM2, Mamba and RecurrentGemma, and one of width 1."""

    main_input_name = "input_ids"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(40, 6)
        self.causal = nn.Conv1d(6, 6, 4, padding=3, groups=2)
        self.narrow = nn.Conv1d(6, 4, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        x = self.embed(input_ids).mT
        return self.narrow(self.causal(x)[..., : x.shape[-1]])


@pytest.mark.parametrize("site", ["causal", "narrow"])
@pytest.mark.parametrize("padded", [True, False])
def test_convolutions_along_a_text_read_the_tokens_that_count(site: str, padded: bool):
    model, batch = Written(), text_batch(6, 9, padded=padded)
    labels = batch["input_ids"].clone()
    labels[:, :3] = -100
    data = {"a": [batch | {"labels": labels}], "b": [batch]}
    moments = mt.collect(model, data, sites=[site], options=QUIET)
    keep = batch["attention_mask"].bool()
    assert moments.count(site, "b") == int(keep.sum())
    assert moments.count(site, "a") == int(keep[:, 3:].sum())
    x = model.embed(batch["input_ids"]).mT
    if site == "narrow":
        rows = model.causal(x)[..., :9].mT
    else:
        rows = nn.functional.pad(x, (3, 0)).unfold(-1, 4, 1).transpose(1, 2).reshape(6, 9, 2, 12)
    expected = rows[:, 3:][keep[:, 3:]].detach().double()
    grams = torch.einsum("ngi,ngj->gij", expected, expected) if expected.dim() == 3 else gram(expected)
    assert relative(moments.moment(site, "a").second, grams) < 1e-6


def test_a_convolution_whose_places_are_not_the_tokens_is_refused_where_some_do_not_count():
    class Pooled(Written):
        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            return self.short(self.embed(input_ids).mT)

    model = Pooled()
    model.short = nn.Conv1d(6, 4, 3, stride=2)
    with pytest.raises(RowsError, match="'short'"):
        mt.collect(model, {"a": [text_batch(6, 9)], "b": [text_batch(6, 9)]}, sites=["short"], options=QUIET)
    whole = {name: [text_batch(6, 9, padded=False)] for name in "ab"}
    assert mt.collect(model, whole, sites=["short"], options=QUIET).count("short", "a") == 6 * 4


def test_padding_on_the_left_moves_no_position():
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=40, n_positions=16, n_embd=8, n_layer=2, n_head=2)
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.randint(1, 40, (5, 6))
    right = {"input_ids": nn.functional.pad(ids, (0, 3)), "attention_mask": nn.functional.pad(ids, (0, 3)).clamp_max(1)}
    left = {"input_ids": nn.functional.pad(ids, (3, 0)), "attention_mask": nn.functional.pad(ids, (3, 0)).clamp_max(1)}
    moments = [mt.collect(model, {"a": [batch], "b": [batch]}, options=QUIET) for batch in (right, left)]
    for site in moments[0].readers:
        assert relative(total(moments[1], site, "a"), total(moments[0], site, "a")) < 1e-5


# which sites there are


@pytest.mark.parametrize("wrap", [Wrapper, nn.DataParallel])
def test_a_wrapper_makes_no_site_of_the_output_head(wrap: type[nn.Module]):
    model, batch = tiny_llama(), text_batch()
    plain = mt.collect(model, {"a": [batch], "b": [batch]}, options=QUIET)
    wrapped = mt.collect(wrap(model), {"a": [batch], "b": [batch]}, options=QUIET)
    assert list(wrapped.readers) == [f"module.{site}" for site in plain.readers]
    assert all(torch.equal(total(wrapped, f"module.{s}", "a"), total(plain, s, "a")) for s in plain.readers)


def test_ddp_makes_no_site_of_the_output_head(tmp_path: Path):
    """A process group of one, over gloo; the moments are those of the model inside."""
    distributed = torch.distributed
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        test_a_wrapper_makes_no_site_of_the_output_head(nn.parallel.DistributedDataParallel)
    finally:
        distributed.destroy_process_group()


def test_an_adapter_is_refused():
    peft = pytest.importorskip("peft", reason="peft comes with the extra train")
    adapted = peft.get_peft_model(tiny_llama(), peft.LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(SelectionError, match="merge_and_unload"):
        mt.collect(adapted, {"a": [text_batch()], "b": [text_batch()]}, options=QUIET)


@pytest.mark.parametrize("change", [nn.utils.parametrizations.weight_norm, prune.identity])
@pytest.mark.parametrize("selector", ["all-linear", "all", ["0", "2"], r"\d"])
def test_a_selection_is_not_narrowed_in_silence(change: Any, selector: Any):
    model = mlp(4, 3, 3, 2)
    change(model[2], "weight")
    data = {"a": [randn(9, 4)], "b": [randn(9, 4, seed=1)]}
    with pytest.raises(SelectionError, match=r"cannot be edited, '2' first.*weight norm, pruning"):
        mt.collect(model, data, sites=selector, options=QUIET)
    assert list(mt.collect(model, data, sites=["0", "4"], options=QUIET).readers) == ["0", "4"]


# resuming


def test_a_checkpoint_is_of_these_batches_in_this_order(tmp_path: Path):
    model, batches = mlp(4, 3), [randn(5, 4, seed=seed) for seed in range(6)]
    options = mt.CollectOptions(progress=False, checkpoint=tmp_path / "checkpoint", checkpoint_seconds=0.0)

    def stopping() -> Iterator[Tensor]:
        yield from batches[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mt.collect(model, {"a": stopping(), "b": [randn(5, 4)]}, options=options)
    shuffled = {"a": [batches[i] for i in (1, 0, 2, 3, 4, 5)], "b": [randn(5, 4)]}
    with pytest.raises(ArtifactError, match="in another order"):
        mt.collect(model, shuffled, options=options)
    resumed = mt.collect(model, {"a": batches, "b": [randn(5, 4)]}, options=options)
    whole = mt.collect(model, {"a": batches, "b": [randn(5, 4)]}, options=QUIET)
    assert torch.equal(total(resumed, "0", "a"), total(whole, "0", "a"))
