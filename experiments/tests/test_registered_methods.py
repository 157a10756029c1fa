"""A method that is registered is a row of the class-wise table and of TOFU's, with nothing said of it there."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from torch import nn
from toy_methods import ToyLanguageMethod

from mnemotomy.methods.base import SearchSpace
from mnemotomy.methods.classifiers.problem import ClassifierMethod, Problem
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.registry import methods
from mnemotomy_bench.classwise.grids import Grid, Row
from mnemotomy_bench.tofu.run import Plan
from mnemotomy_bench.tofu.sweeps import chosen_configuration


def test_a_method_comes_into_the_grids(monkeypatch: pytest.MonkeyPatch):
    @dataclass(frozen=True)
    class Nothing(ClassifierMethod):
        """The model as it is."""

        much: int = 1

        name: ClassVar = "nothing"
        title: ClassVar = "Nothing"
        paper: ClassVar = "nobody's"
        family: ClassVar = "gradient"
        cost: ClassVar = "nothing"
        search_space: ClassVar = SearchSpace({"much": (1, 2)})

        def __call__(self, problem: Problem) -> nn.Module:
            return copy.deepcopy(problem.model)

    @dataclass(frozen=True)
    class Silence(ToyLanguageMethod):
        """The model as it is, twice."""

        much: int = 1

        name: ClassVar = "silence"
        title: ClassVar = "Silence"
        search_space: ClassVar = SearchSpace({"much": (1, 2)}, small={"much": (3,)})

        def __call__(self, problem: TextProblem) -> nn.Module:
            return copy.deepcopy(problem.model)

    monkeypatch.setitem(methods("classifiers"), "nothing", Nothing)
    monkeypatch.setitem(methods("language models"), "silence", Silence)
    assert Grid().rows()["nothing"] == Row("nothing", "Nothing", (Nothing(1), Nothing(2)))
    other = Grid(values={"nothing": {"much": (5,)}})
    assert other.rows()["nothing"].methods == (Nothing(5),)
    assert Plan(["silence"]).grid() == {"silence": (Silence(3),)}
    assert list(Plan(scale="paper").grid())[-1] == "silence"


@pytest.mark.parametrize("pair", ["tofu-tiny", "tofu-384", "tofu-512"])
def test_published_configurations_are_those_of_the_grids(pair: str):
    path = Path(__file__).parents[2] / "docs" / "results" / f"{pair}.json"
    records = [one for one in json.loads(path.read_text(encoding="utf-8")) if "configuration" in one]
    assert len(records) > 10
    grid = Plan(chosen=records).grid()
    assert all(len(grid[one["method"]]) == 1 for one in records)
    for one in records:
        assert chosen_configuration(records, one["method"]) == grid[one["method"]][0]
