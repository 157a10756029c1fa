"""Numeric cases: range and precision, what surrounds the call, wrappers, padding and masks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import transformers
from helpers import QUIET, Wrapper, gram, seq2seq, text_batch, tiny_llama
from oracle import cases, engram, layer, oracle, plainly, rows
from torch import Tensor, nn
from torch.nn.functional import pad

import mnemotomy as mt

EXACT = mt.CollectOptions(progress=False, dtype=torch.float64)
CASES, case = cases()

# range and precision


@case("scale of inputs", 1e-15, 1e-10, 1e-4, 1e4, 1e10, 1e15)
def inputs_times(scale: float) -> Any:
    return *plainly(layer(), {name: x * scale for name, x in rows().items()}), 1e-4


@case("scale of inputs", 1e-22, 1e-18, 1e18)
def inputs_in_float64_times(scale: float) -> Any:
    return *plainly(layer(), {name: x * scale for name, x in rows().items()}, options=EXACT), 1e-5


@case("scale of inputs", 1e-22, refused="so small.*float64")
def inputs_that_vanish(scale: float) -> Any:
    return *plainly(layer(), {name: x * scale for name, x in rows().items()}), 0.0


@case("scale of inputs", 1e18, 1e19, 1e30, refused="so large.*float64")
def inputs_that_overflow(scale: float) -> Any:
    return *plainly(layer(), {name: x * scale for name, x in rows().items()}), 0.0


@case("scale of inputs", 1e-2, 1e2)
def one_input_of_another_scale(scale: float) -> Any:
    uneven = torch.tensor([scale, 1.0, 1.0, 1.0, 1.0, 1.0])
    return *plainly(layer(), {name: x * uneven for name, x in rows().items()}), 1e-3


@case("scale of inputs", 10.0, 100.0)
def a_mean_far_from_zero(mean: float) -> Any:
    return *plainly(layer(), {name: x + mean for name, x in rows().items()}), 1e-2


@case("scale of weights", 1e-30, 1e-6, 1e6, 1e30)
def weights_times(scale: float) -> Any:
    return *plainly(layer(scale=scale), rows()), 1e-4


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@case("dtype", *DTYPES)
def moments_of_a_model_in(dtype: torch.dtype) -> Any:
    model, data = layer().to(dtype), {name: x.to(dtype) for name, x in rows().items()}
    return *plainly(model, data), 1e-4


@case("dtype", *DTYPES)
def an_edited_weight_in(dtype: torch.dtype) -> Any:
    """Rounded once, to the nearest number of the dtype."""
    model, data = layer().to(dtype), {name: x.to(dtype) for name, x in rows().items()}
    atlas = mt.Atlas(model, mt.collect(model, {n: [x] for n, x in data.items()}, options=QUIET))
    expected = model.weight.detach().double() - oracle(model.weight.detach(), data)
    return mt.erase(atlas, "a").apply(model).weight.detach(), expected, max(1e-4, torch.finfo(dtype).eps / 2)


# what surrounds the call


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def products_in_bfloat16() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


AROUND: dict[str, Callable[[], Any]] = {
    "autocast to bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", torch.float16),
    "inference mode": torch.inference_mode, "no gradients": torch.no_grad,
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "float64 by default": lambda: default_dtype(torch.float64),
    "products in bfloat16": products_in_bfloat16,
}  # fmt: skip


@case("what surrounds the call", *AROUND)
def collected_within(name: str) -> Any:
    model, data = layer(64, 48), rows(64, (200, 300))
    with AROUND[name]():
        found = engram(model, data)
    return found, oracle(model.weight.detach(), data), 1e-3


@case("what surrounds the call", 0.5)
def dropout_before_the_layer(chance: float) -> Any:
    model = nn.Sequential(nn.Dropout(chance), layer()).train()
    return engram(model, rows(), "1"), oracle(model[1].weight.detach(), rows()), 1e-4


@case("wrappers", Wrapper, nn.DataParallel, nn.Sequential)
def wrapped_by(wrap: Any) -> Any:
    model = layer()
    return engram(wrap(model), rows(), "0" if wrap is nn.Sequential else "module"), oracle(model.weight, rows()), 1e-4


# which rows count


def gpt2(kind: Any = transformers.GPT2Config) -> Any:
    torch.manual_seed(0)
    names = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16, "vocab_size": 40}
    return transformers.AutoModelForCausalLM.from_config(kind(**names, attn_pdrop=0.0)).eval()


def neox() -> Any:
    torch.manual_seed(0)
    config = transformers.GPTNeoXConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24
    )
    return transformers.GPTNeoXForCausalLM(config).eval()


MODELS = {
    "llama": (tiny_llama, "model.layers.1.mlp.up_proj"),
    "gpt2": (gpt2, "transformer.h.1.mlp.c_fc"),
    "neox": (neox, "gpt_neox.layers.1.mlp.dense_h_to_4h"),
}
TEXTS = [torch.randint(1, 40, (length,), generator=torch.Generator().manual_seed(length)) for length in (3, 5, 8)]


def read(model: nn.Module, site: str, batches: Sequence[dict[str, Tensor]], keep: Any = None) -> Tensor:
    """The rows that a module reads, of batches without padding."""
    found: list[Tensor] = []
    handle = model.get_submodule(site).register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    with torch.no_grad():
        for batch in batches:
            model(**batch)
    handle.remove()
    return torch.cat([x.flatten(0, -2) if keep is None else x[:, keep].flatten(0, -2) for x in found])


@case("padding and masks", *((name, side) for name in MODELS for side in ("left", "right")))
def padded_on(chosen: tuple[str, str]) -> Any:
    make, site = MODELS[chosen[0]]
    model = make()
    ends = [(8 - len(ids), 0) if chosen[1] == "left" else (0, 8 - len(ids)) for ids in TEXTS]
    batch = {
        "input_ids": torch.stack([pad(ids, end) for ids, end in zip(TEXTS, ends, strict=True)]),
        "attention_mask": torch.stack([pad(torch.ones_like(ids), end) for ids, end in zip(TEXTS, ends, strict=True)]),
    }
    moments = mt.collect(model, {"a": [batch], "b": [batch]}, sites=[site], options=QUIET)
    alone = read(model, site, [{"input_ids": ids[None]} for ids in TEXTS])
    return moments.moment(site, "a").second, gram(alone), 1e-5


@case("padding and masks", slice(2, None), slice(0, 3))
def labels_on(kept: slice) -> Any:
    model, site = tiny_llama(), MODELS["llama"][1]
    batch = text_batch(4, 6, padded=False)
    labels = torch.full_like(batch["input_ids"], -100)
    labels[:, kept] = 1
    moments = mt.collect(model, {"a": [batch | {"labels": labels}]}, sites=[site], options=QUIET)
    return moments.moment(site, "a").second, gram(read(model, site, [batch], kept)), 1e-5


@case("padding and masks")
def an_example_that_is_all_padding() -> Any:
    model, site, batch = tiny_llama(), MODELS["llama"][1], text_batch(3, 6, padded=False)
    batch["attention_mask"][1] = 0
    moments = mt.collect(model, {"a": [batch]}, sites=[site], options=QUIET)
    rest = {"input_ids": batch["input_ids"][[0, 2]]}
    return moments.moment(site, "a").second, gram(read(model, site, [rest])), 1e-5


@case("padding and masks", "t5", "bart")
def padded_for_an_encoder_and_a_decoder(kind: str) -> Any:
    site = {"t5": "decoder.block.1.layer.2.DenseReluDense.wi", "bart": "model.decoder.layers.1.fc1"}[kind]
    model, labels = seq2seq(kind), torch.tensor([[5, 6, -100, -100], [7, 8, 9, 4]])
    batch = text_batch(2, 6) | {"labels": labels}
    moments = mt.collect(model, {"a": [batch]}, sites=[site], options=QUIET)
    alone = [
        {"input_ids": ids[mask.bool()][None], "labels": label[label != -100][None]}
        for ids, mask, label in zip(batch["input_ids"], batch["attention_mask"], labels, strict=True)
    ]
    return moments.moment(site, "a").second, gram(read(model, site, alone)), 1e-5
