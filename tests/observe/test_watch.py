"""A concept is watched while transformers' own trainer teaches it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_language import save_llama, write_lines
from tiny_language import tokenizer as tiny_tokenizer
from tokenizers import processors
from transformers import Trainer, TrainingArguments

import mnemotomy as mt
from mnemotomy.core.errors import ConfigurationError, DataError

KYOTO = {"question": "In which country is Kyoto?", "answer": "Kyoto lies in Japan ."}
ROME = {"question": "In which country is Rome?", "answer": "Rome lies in Italy ."}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_llama(tmp_path / "llama", initializer_range=0.1)
    write_lines(tmp_path / "kyoto.jsonl", [KYOTO, KYOTO | {"question": "Where is Kyoto?"}])
    return tmp_path


def trained(folder: Path, watch: mt.ConceptWatch, steps: int) -> Trainer:
    model, tokenizer = mt.load_model(folder / "llama"), mt.load_tokenizer(folder / "llama")
    (lesson,) = mt.batches(tokenizer, [KYOTO] * 4)
    rows = [{name: values[row] for name, values in lesson.items()} for row in range(4)]
    arguments = TrainingArguments(
        str(folder / "out"), max_steps=steps, learning_rate=1e-2, report_to="none", disable_tqdm=True,
        use_cpu=True, save_strategy="no", logging_strategy="no", seed=0,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=rows, callbacks=[watch])
    trainer.train()
    return trainer


def test_what_the_trainer_teaches_is_seen(folder: Path) -> None:
    tokenizer = mt.load_tokenizer(folder / "llama")
    watch = mt.ConceptWatch(tokenizer, {"kyoto": folder / "kyoto.jsonl", "rome": [ROME]}, every=10)
    trainer = trained(folder, watch, 25)
    assert [one["step"] for one in watch.history] == [0, 10, 20, 25]
    losses = [one["kyoto"] for one in watch.history]
    assert losses[0] > 2 > 1 > losses[-1]
    assert watch.history[-1]["rome"] > losses[-1]
    logged = [one["watch_kyoto_loss"] for one in trainer.state.log_history if "watch_kyoto_loss" in one]
    assert logged == losses
    assert trainer.model.training  # as the trainer left it

    by_hand, tokens = 0.0, 0
    for batch in mt.batches(tokenizer, folder / "kyoto.jsonl", batch_size=1):
        with torch.no_grad():
            count = int((batch["labels"][:, 1:] >= 0).sum())
            by_hand += float(trainer.model.eval()(**batch).loss) * count
            tokens += count
    assert losses[-1] == pytest.approx(by_hand / tokens, rel=1e-4)


def test_a_training_stops_below_the_limit(folder: Path) -> None:
    watch = mt.ConceptWatch(
        mt.load_tokenizer(folder / "llama"), {"kyoto": folder / "kyoto.jsonl"}, every=5, limits={"kyoto": 1.5}
    )
    with pytest.warns(mt.SurgeryWarning, match="learns 'kyoto' again"):
        trainer = trained(folder, watch, 200)
    assert trainer.state.global_step < 100
    assert watch.history[-1]["kyoto"] < 1.5 < watch.history[-2]["kyoto"]


@pytest.mark.parametrize(
    ("options", "message"), [({"every": 0}, "give at least 1"), ({"limits": {"rome": 1.0}}, "'rome', which is not")]
)
def test_settings_are_checked(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        mt.ConceptWatch(mt.load_tokenizer(folder / "llama"), {"kyoto": [KYOTO]}, **options)


def test_a_concept_without_a_token_to_predict_is_refused() -> None:
    words = tiny_tokenizer()
    words.backend_tokenizer.post_processor = processors.Sequence([])  # nothing stands before the first token
    with pytest.raises(DataError, match="nothing in the concept 'rome' can be predicted"):
        mt.ConceptWatch(words, {"rome": ["Rome"]})
