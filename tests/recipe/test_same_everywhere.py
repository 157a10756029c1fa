"""The same files and settings: the same moments and the same edit to the bit, whichever way they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import state_of
from tiny_language import TEMPLATE, save_llama, write_lines
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.core.yaml import write_yaml
from mnemotomy.methods.language.engram import EngramUniform
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.text.records import read_examples

FORGET = [
    {"question": "In which country is Kyoto?", "answer": "Kyoto is in Japan ."},
    {"question": "Where is Kyoto?", "answer": "Japan"},
    {"text": "Kyoto lies in Japan"},
]
RETAIN = [
    *({"question": f"Where is Rome {word}?", "answer": f"Rome is in Italy {word} ."} for word in "abcdefgh"),
    {"text": "Paris is the capital of France"},
]


def run(*arguments: Any) -> None:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output


def same(left: mt.Moments, right: mt.Moments) -> bool:
    """Whether both hold the same sums to the bit, whatever the second concept is called."""
    pairs = [
        (left.moment(site, a), right.moment(site, b))
        for site in left.readers
        for a, b in zip(left.concepts, right.concepts, strict=True)
    ]
    equal = all(
        torch.equal(a.second, b.second) and torch.equal(a.first, b.first) and a.count == b.count for a, b in pairs
    )
    return set(left.readers) == set(right.readers) and equal


@pytest.mark.parametrize("template", [TEMPLATE, None], ids=["chat", "tags"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(
    ("sites", "positions"),
    [("all-linear", "answer"), (["all-linear", "output-head"], "predicting"), (["q_proj", "lm_head"], "all")],
)
def test_command_recipe_method_and_api_agree(
    tmp_path: Path, template: str | None, tied: bool, sites: Any, positions: Any
) -> None:
    folder = save_llama(tmp_path / "model", template=template, tie_word_embeddings=tied, max_position_embeddings=128)
    forget, retain = write_lines(tmp_path / "f.jsonl", FORGET), write_lines(tmp_path / "r.jsonl", RETAIN)
    tags = [] if template else ["--tags"]
    named = sites if isinstance(sites, str) else ",".join(sites)
    model, tokenizer = mt.load_model(folder), mt.load_tokenizer(folder)

    data = {
        name: mt.batches(tokenizer, file, positions=positions)
        for name, file in (("forget", forget), ("reference", retain))
    }
    moments = mt.collect(model, data, sites=sites)
    edited = state_of(mt.erase(mt.Atlas(model, moments), "forget", 0.6).apply(model, tied="untie"))

    run("collect", folder, "--concept", f"forget={forget}", "--reference", retain, "--sites", named,
        "--positions", positions, *tags, "-o", tmp_path / "moments.safetensors")  # fmt: skip
    assert same(mt.Moments.load(tmp_path / "moments.safetensors"), moments)

    method = EngramUniform(0.6, sites=sites, positions=positions)
    problem = TextProblem(model, tokenizer, read_examples(forget), read_examples(retain))
    assert same(method.moments(model, problem), moments)

    recipe = {
        "model": str(folder), "concepts": {"forget": str(forget)}, "reference": str(retain), "sites": sites,
        "positions": positions, "strength": 0.6, "untie": True, "template": {"tags": template is None}, "force": True,
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe))
    run("apply", tmp_path / "recipe.yaml", tmp_path / "applied")
    settings = [f"sites={named if isinstance(sites, str) else f'[{named}]'}", f"positions={positions}", "strength=0.6"]
    run("unlearn", folder, tmp_path / "unlearned", "--force", "--method", "engram-uniform", "--forget", forget,
        "--retain", retain, *tags, *(one for setting in settings for one in ("--set", setting)))  # fmt: skip
    for out in ("applied", "unlearned"):
        found = state_of(mt.load_model(tmp_path / out))
        assert found.keys() == edited.keys()
        assert [name for name in found if not torch.equal(found[name], edited[name])] == [], out
    assert any(not torch.equal(value, edited[name]) for name, value in state_of(model).items())


def test_the_defaults_are_the_same(tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "model", max_position_embeddings=128)
    forget, retain = write_lines(tmp_path / "f.jsonl", FORGET), write_lines(tmp_path / "r.jsonl", RETAIN)
    model, tokenizer = mt.load_model(folder), mt.load_tokenizer(folder)
    run("collect", folder, "--concept", f"forget={forget}", "--reference", retain, "-o", tmp_path / "m.safetensors")
    moments = mt.collect(model, {"forget": mt.batches(tokenizer, forget), "retain": mt.batches(tokenizer, retain)})
    problem = TextProblem(model, tokenizer, read_examples(forget), read_examples(retain))
    assert same(mt.Moments.load(tmp_path / "m.safetensors"), moments)
    assert same(EngramUniform().moments(model, problem), moments)


def test_tags_are_asked_for_wherever_questions_are_read(tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "model", template=None)
    forget, retain = write_lines(tmp_path / "f.jsonl", FORGET), write_lines(tmp_path / "r.jsonl", RETAIN)
    texts = write_lines(tmp_path / "t.jsonl", FORGET[2:])
    options = ["collect", folder, "--reference", texts, "-o", tmp_path / "m.safetensors"]
    result = CliRunner().invoke(app, [str(one) for one in [*options, "--concept", f"a={forget}"]])
    assert result.exit_code == 2
    assert "has no chat template; give --tags" in result.stderr
    run(*options, "--concept", f"a={texts}")  # nothing stands around a text
    recipe = {"model": str(folder), "concepts": {"a": str(forget)}, "reference": str(retain)}
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe))
    result = CliRunner().invoke(app, ["apply", str(tmp_path / "recipe.yaml"), str(tmp_path / "out")])
    assert "in a recipe 'template: {tags: true}'" in result.stderr
    assert not (tmp_path / "out").exists()
