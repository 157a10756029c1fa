"""Cases as data: every file is read, settings are taken over, and what is not understood is refused."""

from __future__ import annotations

from importlib.resources import files

import pytest
from pydantic.dataclasses import dataclass

from mnemotomy.core.errors import ConfigurationError
from mnemotomy_bench.generative.cases import CASES as DIGITS
from mnemotomy_bench.generative.faces.cases import CASES as FACES
from mnemotomy_bench.lab import cases as cases_module
from mnemotomy_bench.lab.cases import STRICT, Cases, document, validated
from mnemotomy_bench.metabolism.configurations import plan_of
from mnemotomy_bench.speed.run import cases as shapes
from mnemotomy_bench.vision.recipes import recipe_for


@dataclass(frozen=True, config=STRICT)
class Small:
    name: str
    seeds: tuple[int, ...] = (0,)
    rate: float = 1.0


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Cases[Small]:
    content = {
        "scales": {"tiny": ["one"], "both": ["one", "two"], "wrong": ["odd"]},
        "cases": {
            "one": {"rate": "1e-3"},
            "two": {"like": "one", "seeds": [1, 2]},
            "three": {"like": "two", "rate": 2.0},
            "odd": {"rats": 1},
        },
    }
    monkeypatch.setattr(cases_module, "document", lambda name: content)
    return Cases("small", Small)


def test_a_case_takes_over_anothers_settings_but_for_its_own(small: Cases[Small]) -> None:
    assert small.at("both") == (Small("one", (0,), 0.001), Small("two", (1, 2), 0.001))
    assert small["three"] == Small("three", (1, 2), 2.0)
    assert small.at("tiny", seeds=[7, 8]) == (Small("one", (7, 8), 0.001),)


def test_what_is_not_understood_is_refused(small: Cases[Small]) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no scale 'huge'; choose among tiny, both, wrong"):
        small.at("huge")
    with pytest.raises(ConfigurationError, match=r"small\.yaml, odd: rats: Unexpected keyword argument, not 1"):
        small.at("wrong")
    with pytest.raises(ConfigurationError, match=r"here: 1: .* valid integer.*, not 'x'"):
        validated(tuple[int, ...], [1, "x"], "here")


def test_every_file_is_read() -> None:
    """The scales of each, and numbers that a reader of YAML 1.1 would take for words."""
    assert [case.name for scale in document("digits")["scales"] for case in DIGITS.at(scale)] == [
        "digits-convae", "mnist-convae", "mnist-convae-paper",
    ]  # fmt: skip
    assert [len(FACES.at(scale)) for scale in ("tiny", "small", "paper")] == [1, 1, 2]
    assert [plan_of(scale).rates for scale in ("tiny", "small", "full")] == [
        (3e-4,), (1e-4, 3e-4, 1e-3), (3e-5, 1e-4, 3e-4),
    ]  # fmt: skip
    assert [case.name for scale in document("speed") for case in shapes(scale)] == [
        "d128-b2-4k-c1-float32", "d512-b6-32k-c1-float32", "d1024-b4-16k-c1-float32", "d1024-b4-16k-c10-float32",
        "d1024-b4-16k-c1-float32-v64", "d512-b6-32k-c1-bfloat16", "d1024-b4-16k-c1-bfloat16",
    ]  # fmt: skip
    assert recipe_for("resnet18", "cifar100") == recipe_for("resnet18", "cifar10")
    assert recipe_for("vit", "cifar10").optimizer == "adamw"
    known = {"digits", "faces", "speed", "metabolism", "recipes", "classwise", "cities", "imagenet_groups"}
    assert {one.name.removesuffix(".yaml") for one in files("mnemotomy_bench").joinpath("cases").iterdir()} <= known
