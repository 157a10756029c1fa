"""Folders in which commands run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from commands import RECIPE, Invoke, call, work_beside
from learned_cities import COUNTRIES, examples, trained
from tiny_language import concept_files, save_llama, write_lines

import mnemotomy as mt
from mnemotomy.forget import found
from mnemotomy.store.fact_store import FactStore


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, concept files, moments and a recipe, which no test changes."""
    folder = tmp_path_factory.mktemp("cli")
    save_llama(folder / "llama")
    save_llama(folder / "other", seed=1)
    concept_files(folder)
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "out").mkdir()
    model = mt.load_model(folder / "llama")
    data = {
        name: {"input_ids": torch.arange(5 + i, 25 + i)[None]} for i, name in enumerate(("kyoto", "paris", "reference"))
    }
    mt.collect(model, data).save(folder / "ready.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of one's own, with links to what is ready."""
    for path in ready.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "out").unlink()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def invoke(folder: Path) -> Invoke:
    return call


@pytest.fixture(scope="session")
def city_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, and the files about each city."""
    model, tokenizer = trained()
    folder = tmp_path_factory.mktemp("made")
    mt.save_model(model, folder / "model", tokenizer=tokenizer)
    for city in COUNTRIES:
        rows = [{"question": one.question, "answer": one.answer} for one in examples([city])]
        write_lines(folder / f"{city}.jsonl", rows)
    asked = [{"role": "user", "content": "In which country is Kyoto?"}, {"role": "assistant", "content": "Japan ."}]
    write_lines(folder / "messages.jsonl", [{"messages": asked}])
    write_lines(folder / "texts.jsonl", [{"text": "Kyoto lies in Japan ."}, {"text": "Kyoto is in Japan ."}])
    with FactStore(folder / "facts.db") as store:
        store.add(
            mt.Fact(city, country, (f"{city} lies in",), (f"{city} lies in {country}.",), relation="country")
            for city, country in COUNTRIES.items()
        )
    return folder


@pytest.fixture
def cities(city_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the model and the files about each city."""
    return work_beside(city_files, tmp_path, monkeypatch)


@pytest.fixture
def never_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left of what was known, it raises a concern."""
    monkeypatch.setattr(found, "NOTHING", -1.0)
