"""One measured shape: a randomly initialised Llama, its tokens, and its concepts."""

from __future__ import annotations

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from mnemotomy_bench.lab.cases import STRICT

SITES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, config=STRICT)
class Case:
    """A Llama shape, tokens in batches of 8 × 256, and how many of the batches belong to each of the concepts.

    Attributes:
        width, blocks, tokens: of the model and the data.
        concepts: how many concepts; each has ``1 / max(8, concepts + 1)`` of the batches, the rest is the reference.
        dtype: of the model.
        batch: rows and tokens of each batch.
        vocabulary: distinct tokens; fewer than the width make the first inputs rank-deficient, as in trained models.
    """

    width: int
    blocks: int
    tokens: int
    concepts: int = 1
    dtype: str = "float32"
    batch: tuple[int, int] = (8, 256)
    vocabulary: int = 4096

    @property
    def name(self) -> str:
        """Width, blocks, tokens, concepts and dtype in one string."""
        name = f"d{self.width}-b{self.blocks}-{self.tokens // 1024}k-c{self.concepts}-{self.dtype}"
        return name if self.vocabulary >= self.width else f"{name}-v{self.vocabulary}"

    def model(self) -> LlamaForCausalLM:
        """The model, the same on every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = LlamaConfig(
                hidden_size=self.width,
                intermediate_size=int(2.75 * self.width),
                num_hidden_layers=self.blocks,
                num_attention_heads=self.width // 64,
                num_key_value_heads=self.width // 64,
                vocab_size=self.vocabulary,
                # between two extremes: with the default 0.02 attention is so uniform (o_proj), with 0.08 the first
                # block's attention so dominant (gate, up) that the cut falls inside the spectrum of an input, where
                # float32 sums, the reference implementation's too, do not determine the engram to 1e-4
                initializer_range=0.05,
                tie_word_embeddings=False,
            )
            model = LlamaForCausalLM(config).eval()
        return model.to({"float32": torch.float32, "bfloat16": torch.bfloat16}[self.dtype])

    @property
    def distinct_inputs(self) -> list[int]:
        """The width of each distinct input of the sites: four per block."""
        return [self.width, self.width, self.width, int(2.75 * self.width)] * self.blocks

    def data(self) -> dict[str, list[dict[str, Tensor]]]:
        """Batches by concept, ``rest`` last."""
        generator = torch.Generator().manual_seed(1)
        rows, length = self.batch
        total = max(self.concepts + 1, self.tokens // (rows * length))
        each = max(1, total // max(8, self.concepts + 1))
        ids = torch.randint(0, self.vocabulary, (total, rows, length), generator=generator)
        batches = [{"input_ids": batch} for batch in ids]
        named = {f"c{i}": batches[i * each : (i + 1) * each] for i in range(self.concepts)}
        return {**named, "rest": batches[self.concepts * each :]}
