"""What is measured: a model, randomly initialised or pretrained, its tokens, and its concepts."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Int
from pydantic.dataclasses import dataclass
from torch import Tensor
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from mnemotomy.core.errors import DataError
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy_bench.lab.cases import STRICT
from mnemotomy_bench.real.texts import problems

Data = dict[str, list[dict[str, Tensor]]]

SITES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, config=STRICT)
class Case:
    """A randomly initialised Llama, tokens in batches of 8 × 256, and how many concepts they have.

    Attributes:
        width, blocks, tokens: of the model and the data.
        concepts: how many concepts (``by_concept``).
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

    def data(self) -> Data:
        """Batches by concept, ``rest`` last."""
        generator = torch.Generator().manual_seed(1)
        rows, length = self.batch
        total = max(self.concepts + 1, self.tokens // (rows * length))
        return by_concept(torch.randint(0, self.vocabulary, (total, rows, length), generator=generator), self.concepts)


@dataclass(frozen=True, config=STRICT)
class Pretrained:
    """A pretrained model of Llama's layout on problems of GSM8K; fields as of ``Case``.

    Attributes:
        path: of the model's folder.
    """

    path: str
    tokens: int = 16384
    concepts: int = 1
    dtype: str = "float32"
    batch: tuple[int, int] = (8, 256)

    @property
    def name(self) -> str:
        """The folder's name, tokens, concepts and dtype in one string."""
        return f"{Path(self.path).name}-{self.tokens // 1024}k-c{self.concepts}-{self.dtype}"

    def model(self) -> PreTrainedModel:
        """The model."""
        found: PreTrainedModel = load_model(self.path, dtype=self.dtype).eval()
        return found

    @cached_property
    def distinct_inputs(self) -> list[int]:
        """The width of each distinct input of the sites: four per block."""
        config = AutoConfig.from_pretrained(self.path)
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        attended = head * config.num_attention_heads
        return [config.hidden_size, attended, config.hidden_size, config.intermediate_size] * config.num_hidden_layers

    def data(self) -> Data:
        """Batches by concept, ``rest`` last.

        Raises:
            DataError: the problems are missing, or too few.
        """
        rows, length = self.batch
        count = self.tokens // (rows * length) * rows * length
        ids = load_tokenizer(self.path)("\n".join(problems(10 + count // 50)))["input_ids"][:count]
        if len(ids) < count:
            raise DataError(
                f"{count} tokens of GSM8K are needed, and there are {len(ids)}; set MNEMOTOMY_DATA to the folder that "
                "contains gsm8k/test.jsonl"
            )
        return by_concept(torch.tensor(ids).view(-1, rows, length), self.concepts)


def by_concept(ids: Int[Tensor, "batches rows length"], concepts: int) -> Data:
    """The same number of batches for each concept, ``1 / max(8, concepts + 1)`` of all; the rest is the reference.

    Raises:
        DataError: there are too few batches.
    """
    if len(ids) <= concepts:
        raise DataError(f"{len(ids)} batches are too few for {concepts} concepts and a reference; give more tokens")
    each = max(1, len(ids) // max(8, concepts + 1))
    batches = [{"input_ids": batch} for batch in ids]
    named = {f"c{i}": batches[i * each : (i + 1) * each] for i in range(concepts)}
    return {**named, "rest": batches[concepts * each :]}
