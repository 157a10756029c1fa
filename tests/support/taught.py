"""A tiny Llama that knows the answers of a page or a notebook."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from tiny_language import save_llama

import mnemotomy as mt
from mnemotomy.text.records import TextExample


def teach(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Save a model that has learned the rows with a question; the others are left out."""
    save_llama(folder, initializer_range=0.1, max_position_embeddings=512)
    model, tokenizer = mt.load_model(folder), mt.load_tokenizer(folder)
    known = [TextExample.of_question(row["question"], row["answer"]) for row in rows if "question" in row]
    if known:
        (lesson,) = mt.batches(tokenizer, known, batch_size=len(known), positions="answer")
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
        mt.fit(model, [lesson] * 60, lambda net, batch: net(**batch).loss, optimizer, clip=1.0, progress=False)
        shutil.rmtree(folder)
        mt.save_model(model, folder, tokenizer=tokenizer)
