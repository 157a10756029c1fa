"""Collect, erase and restore on transformers architectures, built small from their configurations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from helpers import QUIET, relative, same_state, state_of, total
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.core.errors import SelectionError
from mnemotomy.core.modules import tied_parameters
from mnemotomy.engram.sites import select_sites

VOCABULARY, LENGTH, ROWS = 40, 9, 6
DECODER: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
ENCODER: dict[str, Any] = {k: v for k, v in DECODER.items() if k not in ("num_key_value_heads", "head_dim")}
MIXTURE = {"moe_intermediate_size": 12, "num_experts_per_tok": 2}
VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
SEQ2SEQ = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}

# name: (model class, configuration, what it reads)
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("LlamaForCausalLM", DECODER, "text"),
    "qwen2": ("Qwen2ForCausalLM", DECODER, "text"),
    "qwen3": ("Qwen3ForCausalLM", DECODER, "text"),
    "mistral": ("MistralForCausalLM", DECODER, "text"),
    "gemma2": ("Gemma2ForCausalLM", DECODER, "text"),
    "gemma3": ("Gemma3ForCausalLM", DECODER, "text"),
    "phi": ("PhiForCausalLM", DECODER, "text"),
    "phi3": ("Phi3ForCausalLM", DECODER, "text"),
    "olmo2": ("Olmo2ForCausalLM", DECODER, "text"),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": VOCABULARY}, "text"),
    "gpt_neox": ("GPTNeoXForCausalLM", ENCODER, "text"),
    "opt": ("OPTForCausalLM", ENCODER | {"ffn_dim": 24, "word_embed_proj_dim": 16}, "text"),
    "bloom": ("BloomForCausalLM", {"hidden_size": 16, "n_layer": 2, "n_head": 2, "vocab_size": VOCABULARY}, "text"),
    "mixtral": ("MixtralForCausalLM", DECODER | {"num_local_experts": 4}, "text"),
    "qwen3_moe": ("Qwen3MoeForCausalLM", DECODER | MIXTURE | {"num_experts": 4}, "text"),
    "gpt_oss": ("GptOssForCausalLM", DECODER | {"num_local_experts": 4, "num_experts_per_tok": 2}, "text"),
    "mamba": (
        "MambaForCausalLM",
        {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "vocab_size": VOCABULARY},
        "text",
    ),
    "bert": ("BertForMaskedLM", ENCODER, "text"),
    "roberta": ("RobertaForSequenceClassification", ENCODER, "text"),
    "distilbert": (
        "DistilBertForMaskedLM",
        {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2, "vocab_size": VOCABULARY},
        "text",
    ),
    "albert": ("AlbertForMaskedLM", ENCODER | {"embedding_size": 8}, "text"),
    "deberta_v2": (
        "DebertaV2ForMaskedLM",
        ENCODER | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
        "text",
    ),
    "t5": (
        "T5ForConditionalGeneration",
        {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "vocab_size": 40,
         "decoder_start_token_id": 0},
        "seq2seq",
    ),
    "bart": ("BartForConditionalGeneration", SEQ2SEQ, "seq2seq"),
    "whisper": ("WhisperForConditionalGeneration", SEQ2SEQ | {"num_mel_bins": 8, "max_source_positions": 10}, "sound"),
    "vit": ("ViTForImageClassification", VISION, "image"),
    "dinov2": ("Dinov2ForImageClassification", VISION, "image"),
    "swin": (
        "SwinForImageClassification",
        {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2},
        "image",
    ),
    "resnet": (
        "ResNetForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        "image",
    ),
    "convnext": (
        "ConvNextForImageClassification",
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
        "image",
    ),
    "clip": (
        "CLIPModel",
        {"text_config": ENCODER | {"eos_token_id": 2, "bos_token_id": 1}, "vision_config": VISION, "projection_dim": 8},
        "both",
    ),
}  # fmt: skip


def build(name: str) -> Any:
    class_name, arguments, _ = MODELS[name]
    kind = getattr(transformers, class_name)
    torch.manual_seed(0)
    model = kind(kind.config_class(**arguments)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # the usual initialisation leaves an edit too small to see
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    return model


def batch_for(reads: str) -> dict[str, Tensor]:
    ids = torch.randint(3, VOCABULARY, (ROWS, LENGTH))
    mask = (torch.arange(LENGTH)[None] < (LENGTH - torch.arange(ROWS) % 3)[:, None]).long()
    ids = ids * mask
    images = torch.randn(ROWS, 3, 16, 16)
    return {
        "text": {"input_ids": ids, "attention_mask": mask},
        "seq2seq": {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids[:, :5].clamp(min=3)},
        "sound": {"input_features": torch.randn(ROWS, 8, 20), "decoder_input_ids": ids[:, :5].clamp(min=3)},
        "image": {"pixel_values": images},
        "both": {"input_ids": ids, "attention_mask": mask, "pixel_values": images},
    }[reads]


def output_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        result = model(**batch)
    logits = getattr(result, "logits", None)
    return result.logits_per_image if logits is None else logits


@pytest.mark.filterwarnings("ignore:.*sites were never reached")
@pytest.mark.parametrize("sites", ["all", "all-linear"])
@pytest.mark.parametrize("name", MODELS)
def test_collect_erase_and_restore(name: str, sites: str):
    model, batch = build(name), batch_for(MODELS[name][2])
    before, reference = state_of(model), output_of(model, batch)
    tied = tied_parameters(model)
    try:
        select_sites(model, sites)
    except SelectionError:
        assert name == "resnet"  # but for its classifier, which is no output head of a language model
        return
    labels = ["a", "b", "b"] * (ROWS // 3)
    moments = mt.collect(model, [batch], concepts=lambda _: labels, sites=sites, options=QUIET)
    halves = {c: [{k: v[[i for i in range(ROWS) if labels[i] == c]] for k, v in batch.items()}] for c in "ab"}
    mapping = mt.collect(model, halves, sites=sites, options=QUIET)
    assert set(moments.readers) == set(mapping.readers)
    for site in moments.readers:
        for concept in "ab":
            assert moments.count(site, concept) == mapping.count(site, concept)
            assert relative(total(moments, site, concept), total(mapping, site, concept)) < 1e-3, site
    atlas = mt.Atlas(model, moments)
    edit = mt.erase(atlas, "a")
    with edit.on(model, tied="untie"):
        edited = output_of(model, batch)
    assert bool(torch.isfinite(edited).all())
    assert not torch.allclose(edited, reference, atol=1e-4)
    assert same_state(model, before)
    assert tied_parameters(model) == tied
    assert torch.equal(output_of(model, batch), reference)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
