"""Trained models for the cases: the same examples, recipe and seed are trained once."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import torch
from torch import nn

from mnemotomy.bench.classwise.cases import Case
from mnemotomy.data.images import DIGITS, data_folder, load_images
from mnemotomy.files import replacing_file
from mnemotomy.methods.classifier import cross_entropy
from mnemotomy.methods.problem import Examples

WIDTH, EPOCHS = 256, 30


def load_examples(case: Case, split: str, data: Path | None) -> tuple[Examples, tuple[str, ...]]:
    source = DIGITS if case.data == DIGITS else (data / case.data if data else data_folder(case.data))
    images = load_images(source, split)
    return Examples(images.inputs.float() / 255, images.labels), images.class_names


def fresh(case: Case, seed: int, classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 if case.data == DIGITS else 784, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, classes),
        )


def train(case: Case, seed: int, model: nn.Module, examples: Examples, folder: Path) -> tuple[nn.Module, float]:
    epochs = case.epochs or EPOCHS
    key = hashlib.sha256(
        repr((case.network, epochs, seed)).encode()
        + examples.labels.numpy().tobytes()
        + examples.inputs.numpy().tobytes()
    ).hexdigest()[:16]
    path, record = folder / f"{key}.pt", folder / f"{key}.json"
    if path.is_file():
        model.load_state_dict(torch.load(path))
        return model.eval(), json.loads(record.read_text())["seconds"]
    start = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch in examples.batches(64, generator):
            optimizer.zero_grad()
            cross_entropy(model, batch).backward()
            optimizer.step()
    optimizer.zero_grad()
    seconds = time.perf_counter() - start
    with replacing_file(path) as temporary:
        torch.save(model.state_dict(), temporary)
    record.write_text(json.dumps({"seconds": seconds}))
    return model.eval(), seconds


def training_epochs(case: Case) -> int:
    return case.epochs or EPOCHS
