"""What holds for every registered method, and that one class is all that a new one takes."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_language import concept_files, save_llama
from torch import nn
from toy_methods import ToyLanguageMethod
from typer.testing import CliRunner

from mnemotomy.cli import app
from mnemotomy.cli.methods import listed
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.models import load_model
from mnemotomy.methods.base import Method
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.registry import PACKAGES, TABLES, choice_of, method_named, methods, register

EVERY = [(models, name) for models in PACKAGES for name in methods(models)]


@pytest.fixture
def unregistered() -> Iterator[None]:
    """What a test registers is gone after it."""
    before = {models: dict(methods(models)) for models in PACKAGES}
    yield
    for models, found in before.items():
        methods(models).clear()
        methods(models).update(found)  # type: ignore[arg-type]


@pytest.mark.parametrize(("models", "name"), EVERY)
def test_every_method_describes_itself(models: Any, name: str):
    kind: type[Method[Any]] = method_named(models, name)
    assert kind.models == models
    assert kind.name == name
    assert all((kind.title, kind.paper, kind.cost, kind.__doc__))
    assert kind.family in ("baseline", "closed form", "gradient", "hybrid")
    assert set(kind.needs) <= {"pretrained", "questions"}
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    made: Any = kind()
    assert made.material() == ()
    for field in dataclasses.fields(made):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, None)
        json.dumps(dataclasses.asdict(made)[field.name], default=str)


@pytest.mark.parametrize(("models", "name"), EVERY)
def test_every_value_of_a_search_space_makes_a_method(models: Any, name: str):
    kind: type[Method[Any]] = method_named(models, name)
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for scale in ("small", "paper"):
        values = kind.search_space.at(scale)
        assert set(values) <= fields
        made = list(kind.grid(scale))
        assert len(made) == len(set(map(repr, made))) > 0
        assert all(type(one) is kind for one in made)
        for field, tried in values.items():
            assert {repr(getattr(one, field)) for one in made} == set(map(repr, tried))
        assert bool(values) or made == [kind()]


def test_the_order_is_that_of_the_tables():
    for models, order in TABLES.items():
        assert tuple(methods(models))[: len(order)] == order
    assert list(methods("language models"))[-1] == "hybrid"
    assert [(one["models"], one["name"]) for one in listed()] == EVERY


def test_a_method_is_one_class(unregistered: None, tmp_path: Path):
    @register("shrink", "Shrink", "nobody", grid={"factor": (0.25, 0.5, 0.75)}, small={"factor": (0.1,)})
    class Shrink(ToyLanguageMethod):
        """Every weight of the output head, multiplied by a factor."""

        factor: float = 0.5

        def __call__(self, problem: TextProblem) -> nn.Module:
            model = copy.deepcopy(problem.model)
            with torch.no_grad():
                model.get_output_embeddings().weight.mul_(self.factor)
            return model

    assert choice_of("language models").parse("shrink=0.25") == Shrink(0.25)
    assert "shrink" in CliRunner().invoke(app, ["methods"]).stdout
    model, files, out = save_llama(tmp_path / "model"), concept_files(tmp_path), tmp_path / "out"
    chosen = ["--forget", str(files["kyoto"]), "--retain", str(files["reference"]), "--method", "shrink"]
    result = CliRunner().invoke(app, ["unlearn", str(model), str(out), *chosen, "--set", "factor=0.25", "--force"])
    assert result.exit_code == 0, result.output
    before, after = (load_model(folder).get_output_embeddings().weight for folder in (model, out))
    assert torch.equal(after, 0.25 * before)


def test_a_name_stands_for_one_method(unregistered: None):
    taken = method_named("language models", "npo")
    with pytest.raises(ConfigurationError, match="'npo' for language models is taken by NPO"):
        register("npo", "Other", "nobody")(type("Other", (taken,), {}))
    with pytest.raises(ConfigurationError, match="there is no method 'nop'; choose among retrain, fine-tune"):
        method_named("classifiers", "nop")
