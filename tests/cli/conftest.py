"""Folders in which commands run."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import work_beside
from learned_cities import COUNTRIES, examples, trained
from tiny_language import write_lines

import mnemotomy as mt
from mnemotomy.forget import found
from mnemotomy.store.fact_store import FactStore


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
