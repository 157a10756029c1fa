"""What the cells of several seeds come to."""

from __future__ import annotations

import pytest

from mnemotomy_bench.lab.seeds import mean_tree, numbers, over_seeds


def test_means_are_over_the_seeds_that_have_a_number() -> None:
    cells = [{"seed": 0, "a": 1.0, "b": None, "c": 2}, {"seed": 1, "a": 3.0, "b": 5.0, "c": 2}]
    assert over_seeds(cells, ("a", "b", "c", "d")) == {
        "a": 2.0, "a_spread": pytest.approx(2**0.5), "b": 5.0, "c": 2.0, "c_spread": 0.0, "d": None,
    }  # fmt: skip
    assert over_seeds(cells[:1], ["a"]) == {"a": 1.0}


def test_the_numbers_of_a_cell() -> None:
    assert numbers({"seed": 3, "a": 0, "b": 0.5, "name": "x", "done": True, "none": None, "list": [1]}) == ["a", "b"]


def test_the_mean_of_trees() -> None:
    trees = [{"a": [1.0, 2.0], "b": {"c": None}}, {"a": [3.0, 6.0], "b": {"c": 1.0}}]
    assert mean_tree(trees) == {"a": [2.0, 4.0], "b": {"c": None}}
    with pytest.raises(ValueError, match="zip"):
        mean_tree([[1.0], [1.0, 2.0]])
