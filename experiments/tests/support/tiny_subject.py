"""A pair of tiny models with tiny data, as the bench on TOFU operates on it."""

from __future__ import annotations

from pathlib import Path

from tiny_tofu import save_pair, save_tofu

from mnemotomy.observe.questions import Asking
from mnemotomy_bench.tofu.attacks import Attacks, Relearning
from mnemotomy_bench.tofu.pairs import Pair
from mnemotomy_bench.tofu.subject import Subject
from mnemotomy_bench.tofu.texts import Texts

QUICK = Asking(max_new_tokens=3)
MILD = Attacks(Relearning(examples=2, steps=2), bits=(8,))


def save_bench(folder: Path) -> Path:
    """Data and models in one folder."""
    save_tofu(folder / "tofu", count=4)
    save_pair(folder)
    return folder


def subject_in(folder: Path) -> Subject:
    """What is saved there; results go to ``out`` beside it."""
    pair = Pair(str(folder / "full"), str(folder / "retain90"), str(folder / "base"), "tiny")
    return Subject(pair, Texts(folder / "tofu"), folder / "out", QUICK)
