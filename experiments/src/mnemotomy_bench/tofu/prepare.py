"""A pair made from any base model: fine-tuned on all of TOFU, and on all of it but the forget set; answers only."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError, DataError, TrainingError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.keys import key
from mnemotomy.core.models import (
    check_device,
    check_language_model,
    load_model,
    load_tokenizer,
    quiet_transformers,
    save_model,
)
from mnemotomy.core.precision import Precision, autocast, check_precision, resolved
from mnemotomy.core.version import versions
from mnemotomy.data.tofu import retained_split
from mnemotomy.evaluation.texts import load_tofu
from mnemotomy.methods.language.predictions import predict
from mnemotomy.text.encoding import Encoded, encode
from mnemotomy.text.records import TextExample, read_examples
from mnemotomy.text.template import OPEN_UNLEARNING
from mnemotomy.training.checkpoint import Checkpoints
from mnemotomy.training.loop import Run, Update, train
from mnemotomy.training.optimiser import Optimiser, linear
from mnemotomy_bench.lab.resources import measured
from mnemotomy_bench.tofu.texts import VARIABLE, Texts

BASE, FULL, RECORD = "base", "full", "preparation.json"
GENERAL = ("real_authors", "world_facts")
SORTED = 16
"""Batches whose rows are sorted by length together."""


@dataclass(frozen=True)
class Preparation:
    """How both models are fine-tuned: AdamW, the rate rises for an epoch and then falls linearly to zero.

    Attributes:
        epochs: over TOFU.
        learning_rate: the highest; 1e-5 suits a billion parameters, 1e-3 some millions.
        batch_size: questions per update.
        general: copies of real authors and world facts per epoch; a small model would otherwise forget them.
        seed: of the order, and of a base that is made here.
        device: where training runs.
        precision: ``bf16`` autocast or ``no``; ``auto`` takes bf16 where the device has instructions for it.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    epochs: int = 16
    learning_rate: float = 1e-3
    batch_size: int = 32
    general: int = 1
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.general < 0 or not self.learning_rate > 0.0:
            raise ConfigurationError("epochs and batch size must be 1 or more, general 0 or more, the rate above 0")
        check_precision(self.precision)


@dataclass(frozen=True)
class FreshBase:
    """A small Llama with tied embeddings, trained on GSM8K's solutions, real authors and world facts.

    Attributes:
        tokenizer: a folder or hub id.
        hidden: width; heads have 32 columns, and two query heads share one for keys and values.
        layers: blocks.
        epochs: over the solutions; the questions come ``general`` times in each.
        general: copies of real authors and world facts per epoch.
        problems: how many of GSM8K's first problems; None for all, which is most of the work of a pair.
    """

    tokenizer: str
    hidden: int = 512
    layers: int = 3
    epochs: int = 2
    general: int = 4
    problems: int | None = None

    def model(self, vocabulary: int, tokenizer: Any, seed: int) -> nn.Module:
        """Untrained.

        Raises:
            ConfigurationError: the width is not a multiple of 64, or there is no block.
        """
        from transformers import LlamaConfig, LlamaForCausalLM

        if self.hidden % 64 or self.layers < 1:
            raise ConfigurationError(f"hidden must be a multiple of 64, not {self.hidden}, and layers 1 or more")
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.hidden * 11 // 4,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden // 32,
            num_key_value_heads=self.hidden // 64,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cast(nn.Module, LlamaForCausalLM(config))


def prepare_pair(
    out_dir: Path,
    texts: Texts,
    *,
    base: str | FreshBase,
    settings: Preparation | None = None,
    only: Sequence[str] = (),
    gsm8k: Path | None = None,
) -> dict[str, Path]:
    """Folders by name: ``base`` if it was made, ``full``, and the gold model as ``retain90``.

    Args:
        out_dir: for them; finished models are reused, and interrupted ones resume from their last epoch.
        texts: the data.
        base: a folder or hub id, or the base to make.
        settings: of the fine-tuning.
        only: ``full`` or ``retain``, so two processes can run in parallel once there is a base.
        gsm8k: a file of GSM8K's training problems for a base that is made; of ``MNEMOTOMY_DATA`` by default.

    Raises:
        ConfigurationError: a setting is out of its range, or a folder holds a model of other settings.
        DataError: data is missing, or an answer has no tokens.
        ModelError: the base cannot be loaded.
        TrainingError: the training diverges.
    """
    settings = settings or Preparation()
    check_device(settings.device)
    kept = retained_split(texts.forget)
    unknown = [name for name in only if name not in (FULL, "retain")]
    if unknown:
        raise ConfigurationError(f"there is no model {unknown[0]!r} in a pair; choose full or retain")
    made: dict[str, Path] = {}
    if isinstance(base, FreshBase):
        made[BASE] = _base(out_dir / BASE, texts, base, settings, gsm8k)
        source = str(made[BASE])
    else:
        source = base
    tokenizer = load_tokenizer(source)
    rows = {split: _rows(load_tofu(texts.source, split), tokenizer) for split in (FULL, kept, *GENERAL)}
    common = [row for split in GENERAL for row in rows[split]] * settings.general
    for name, split in ((FULL, FULL), ("retain", kept)):
        if only and name not in only:
            continue
        with quiet_transformers():
            start = load_model(source)
        check_language_model(start, tokenizer)
        identity = {"settings": asdict(settings), "start": fingerprint(start), "texts": _digest(rows[split] + common)}
        folder = out_dir / split
        _train(start, [*rows[split], *common], tokenizer, folder, settings, identity)
        made[split] = folder
    return made


def _base(folder: Path, texts: Texts, base: FreshBase, settings: Preparation, gsm8k: Path | None) -> Path:
    tokenizer = load_tokenizer(base.tokenizer)
    path = gsm8k or Path(os.environ.get(VARIABLE, "")) / "gsm8k" / "train.jsonl"
    if not path.is_file():
        raise DataError(f"there is no {path} to train a base on; set {VARIABLE}, or give --base")
    rows = _rows(read_examples(path)[: base.problems], tokenizer)
    for split in GENERAL:
        rows += _rows(load_tofu(texts.source, split), tokenizer) * base.general
    model = base.model(len(tokenizer), tokenizer, settings.seed)
    chosen = replace(settings, epochs=base.epochs, general=0)
    identity = {"settings": asdict(chosen), "start": asdict(base), "texts": _digest(rows)}
    _train(model, rows, tokenizer, folder, chosen, identity)
    return folder


def _train(
    model: nn.Module,
    rows: Sequence[Encoded],
    tokenizer: Any,
    folder: Path,
    settings: Preparation,
    identity: Mapping[str, Any],
) -> None:
    """Train and save, unless the folder already has the same result."""
    if (folder / RECORD).is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a damaged record does not match
            if json.loads((folder / RECORD).read_text(encoding="utf-8"))["identity"] == identity:
                return
        raise ConfigurationError(f"{folder} has a model made with other settings; remove it, or name another folder")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} has files that this command did not write; name another folder")
    device = torch.device(settings.device)
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01, fused=True)
    each = math.ceil(len(rows) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: linear(step, each * settings.epochs, each))

    def loss(model: nn.Module, batch: list[Encoded]) -> Tensor:
        return -predict(model, batch, tokenizer).log_probabilities().mean()

    training = folder.parent / f"{folder.name}.training"
    name = key(dict(identity))
    run = Run(
        folder.name,
        settings.epochs,
        each,
        settings.seed,
        checkpoints=Checkpoints(training / name, name),
        around=functools.partial(autocast, device, settings.precision, backward=True),
    )
    try:
        with measured(device) as usage:
            outcome = train(
                model,
                lambda _, generator: (Update([batch]) for batch in like_lengths(rows, settings.batch_size, generator)),
                loss,
                Optimiser(optimizer, schedule, clip=1.0),
                run,
            )
    except TrainingError:  # it would diverge again from its last epoch
        shutil.rmtree(training, ignore_errors=True)
        raise
    cost = {"seconds": outcome.seconds, "peak_bytes": usage.peak_bytes}
    record = {
        "identity": dict(identity),
        "precision": resolved(settings.precision, device),
        **cost,
        "versions": versions(),
    }
    model.to("cpu")
    save_model(model, folder, tokenizer=tokenizer, extra={RECORD: json.dumps(record, indent=1) + "\n"})
    shutil.rmtree(training)


def like_lengths(rows: Sequence[Encoded], size: int, generator: torch.Generator) -> list[list[Encoded]]:
    """All rows in random order, sorted by length within groups of batches; else half of a batch is padding."""
    order = torch.randperm(len(rows), generator=generator).tolist()
    found = []
    for start in range(0, len(order), SORTED * size):
        pool = sorted(order[start : start + SORTED * size], key=lambda place: len(rows[place].input_ids))
        found += [pool[first : first + size] for first in range(0, len(pool), size)]
    shuffled = torch.randperm(len(found), generator=generator).tolist()
    return [[rows[place] for place in found[number]] for number in shuffled]


def _rows(some: Sequence[TextExample], tokenizer: Any) -> list[Encoded]:
    return [encode(one, tokenizer, OPEN_UNLEARNING) for one in some]


def _digest(rows: Sequence[Encoded]) -> str:
    return key([[row.input_ids, row.labels] for row in rows])
