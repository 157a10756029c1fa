"""Recipe files: what they may say, what they mean, and what is wrong with a damaged one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import says
from recipe_file import recipe
from tiny_language import concept_files, save_llama, write_lines

import mnemotomy as mt
from mnemotomy.core.errors import DataError, ModelError
from mnemotomy.core.yaml import read_yaml
from mnemotomy.methods.language.hybrid import Hybrid
from mnemotomy.methods.language.npo import NPO
from mnemotomy.methods.registry import choice_of
from mnemotomy.recipe import EditRecipe, MethodRecipe, load_recipe
from mnemotomy.recipe.schema import recipe_of
from mnemotomy.text.template import Template, TemplateSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with concept files and a model."""
    concept_files(tmp_path)
    (tmp_path / "models").mkdir()
    save_llama(tmp_path / "models" / "llama")
    return tmp_path


def test_defaults_and_shorthands_are_written_out(folder: Path) -> None:
    short = load_recipe(recipe(folder, cut="float-eps", filter="hard", layers=1)).recipe
    assert short.erase == ("kyoto", "paris")
    assert (short.cut, short.filter) == (mt.FloatEpsCut(), mt.Hard(0.5))
    written = short.model_dump(mode="json")
    assert (written["cut"], written["filter"]) == ({"kind": "float-eps"}, {"kind": "hard", "threshold": 0.5})
    assert load_recipe(recipe(folder, cut="relative=1e-4", filter="hard=0.2")).recipe.cut == mt.RelativeCut(1e-4)
    assert short.layers == (1,)
    assert load_recipe(recipe(folder)).recipe.cut == mt.RelativeCut(1e-6)


def test_yaml_numbers_and_names_mean_what_they_say(folder: Path) -> None:
    path = folder / "recipe.yaml"
    path.write_text(
        "model: models/llama\nconcepts: {no: kyoto.jsonl, 7: paris.jsonl}\nreference: rest.jsonl\n"
        "cut: {kind: relative, ratio: 1e-4}\nuntie: true\nstrength: 2\n"
    )
    found = load_recipe(path).recipe
    assert found.cut == mt.RelativeCut(1e-4)
    assert tuple(found.concepts) == ("no", "7")
    assert (found.untie, found.strength) == (True, 2.0)


def test_names_of_concepts_are_as_they_are_written(folder: Path) -> None:
    path = folder / "recipe.yaml"
    rest = "reference: rest.jsonl\nmax_length: 0100\nbatch_size: 0x10\n"
    names = ("007", "010", "1:30", "1.50", "true")
    path.write_text(f"model: models/llama\nconcepts: {{{', '.join(f'{n}: kyoto.jsonl' for n in names)}}}\n{rest}")
    found = load_recipe(path).recipe
    assert tuple(found.concepts) == names
    assert (found.max_length, found.batch_size) == (100, 16)
    for one, other in (("1", "'1'"), ("true", "'true'")):
        path.write_text(f"model: models/llama\nconcepts: {{{one}: kyoto.jsonl, {other}: paris.jsonl}}\n{rest}")
        with pytest.raises(DataError, match=r"duplicate key .* at line 2"):
            load_recipe(path)


def test_nobodys_home_is_no_folder(folder: Path) -> None:
    path = folder / "recipe.yaml"
    path.write_text("model: ~nosuchuser/m\nconcepts: {a: ~nosuchuser/a.jsonl}\nreference: rest.jsonl\n")
    with pytest.raises(ModelError, match=r"the model folder .* does not exist"):
        _ = load_recipe(path).model
    with pytest.raises(DataError, match="nosuchuser"):
        _ = load_recipe(path).digests


def test_paths_may_begin_at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    path = folder / "models" / "recipe.yaml"
    path.write_text("model: ~/models/llama\nconcepts: {kyoto: ~/kyoto.jsonl}\nreference: ~/rest.jsonl\n")
    found = load_recipe(path)
    assert found.model == str(folder / "models" / "llama")
    assert found.files == {"kyoto": [folder / "kyoto.jsonl"], "reference": [folder / "rest.jsonl"]}


def test_the_recipes_of_the_docs_are_recipes(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    found = []
    for number, snippet in enumerate(text.split("```yaml\n")[1:]):
        path = tmp_path / f"{number}.yaml"
        path.write_text(snippet.split("```")[0], encoding="utf-8")
        found.append(load_recipe(path).recipe)
    edit, of_moments, method = found
    assert isinstance(edit, EditRecipe)
    assert (edit.erase, edit.inject, edit.filter) == (("alice",), (), mt.Hard(0.5))
    assert edit.model_fields_set >= set(EditRecipe.model_fields) - {"moments"}  # the docs show every field
    assert isinstance(of_moments, EditRecipe)
    assert (of_moments.moments, of_moments.files) == ("moments.safetensors", {"moments": ("moments.safetensors",)})
    assert isinstance(method, MethodRecipe)
    assert method.model_fields_set == set(MethodRecipe.model_fields)
    for inline in ("cut: relative=1e-6", "filter: hard=0.5"):
        assert f"`{inline}`" in text
        assert read_yaml(f"model: a\nconcepts: {{a: b}}\nreference: c\n{inline}")
    hybrid = text.split("written like one: `")[1].split("`")[0]
    assert choice_of("language models").parse(hybrid) == Hybrid("two-sided", NPO(epochs=1))


@pytest.mark.parametrize("name", ["recipe", "method"])
def test_the_examples_have_their_files_beside_them(name: str) -> None:
    found = load_recipe(Path(__file__).parents[2] / "examples" / f"{name}.yaml")
    assert all(digests for digests in found.digests.values())


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"positions": "all"}, {"positions": "all"}),
        ({"template": {"system": ""}}, {"template": TemplateSettings.of(Template(system=None))}),
        ({"template": {}}, {"template": TemplateSettings()}),
    ],
)
def test_how_texts_are_read_is_said_in_the_recipe(folder: Path, fields: dict[str, Any], meant: dict[str, Any]) -> None:
    found = load_recipe(recipe(folder, **fields)).recipe
    assert {name: getattr(found, name) for name in meant} == meant
    assert recipe_of(found.model_dump(mode="json", exclude={"moments"})) == found


def test_nothing_need_be_erased_where_something_is_injected(folder: Path) -> None:
    found = load_recipe(recipe(folder, erase=[], inject=["kyoto"])).recipe
    assert (found.erase, found.inject) == ((), ("kyoto",))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": None}, "the field 'model' is missing"),
        (
            {"filtr": "soft"},
            "unknown field 'filtr'; did you mean 'filter'? known: model, dtype, template, trust_remote_code, force",
        ),
        ({"concepts": {}}, "concepts: give at least one concept"),
        ({"concepts": "kyoto.jsonl"}, "concepts: give at least one concept"),
        ({"concepts": {"kyoto": 3}}, "concepts: the files of 'kyoto' must be a string"),
        ({"concepts": {"reference": "a.jsonl"}}, "concepts: 'reference' is the name of the reference"),
        ({"concepts": {"a\nb": "a.jsonl"}}, "is not a valid name for a concept"),
        ({"reference": None}, "reference: it is missing"),
        ({"erase": ["rome"]}, "erase: no concept 'rome'; there are kyoto, paris"),
        ({"erase": ["kyoto"], "inject": ["kyoto"]}, "inject: 'kyoto' is erased too"),
        ({"erase": []}, "erase: neither erase nor inject names a concept"),
        ({"sites": []}, "sites: it must be a string or a list of strings"),
        ({"positions": "first"}, "positions must be 'answer', 'predicting' or 'all', not 'first'"),
        ({"template": {"sytem": "x"}}, "template: unknown setting 'sytem'; did you mean 'system'?"),
        ({"layers": "0-3"}, "layers: give a block number"),
        ({"layers": [True]}, "layers: give a block number"),
        ({"cut": "fine"}, "cut: unknown cut 'fine'; choose one of relative, float-eps, condition, rank, energy"),
        ({"cut": {"kind": ["a"]}}, "cut: unknown cut"),
        ({"cut": {"kind": "condition"}}, "cut.condition: needs 'condition'"),
        ({"filter": {"kind": "hard", "tau": 1}}, "filter.hard: unknown setting 'tau'; known: threshold"),
        ({"filter": {"kind": "soft", "tau": 1}}, "filter.soft: unknown setting 'tau'; known: none"),
        ({"filter": {"kind": "power", "exponent": "two"}}, "filter.power.exponent must be a valid number, not 'two'"),
        ({"strength": "strong"}, "strength: 'strong': give a number, a number per site, or one of uniform"),
        ({"strength": True}, "strength: True: give a number"),
        ({"strength": {}}, "strength: {}: give a number"),
        ({"dtype": "int8"}, "dtype must be 'float32', 'bfloat16', 'float16' or 'float64', not 'int8'"),
        ({"batch_size": 0}, "batch_size must be greater than or equal to 1, not 0"),
        ({"batch_size": "many", "max_length": 0}, "batch_size must be a valid integer, not 'many' (and 1 more)"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(folder: Path, fields: dict[str, Any], message: str) -> None:
    path = recipe(folder, **fields)
    with pytest.raises(DataError) as caught:
        load_recipe(path)
    says(caught, str(path), message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model: [", "not valid YAML: .* line 1"),
        (b"model: a\nmodel: b", 'not valid YAML: found duplicate key "model".* at line 2'),
        (b"model: \xff", "not valid YAML"),
        (b"? [a]\n: b", "not valid YAML: a key must be a word at line 1"),
        (b"- a", "a recipe is a mapping"),
        (b"", "a recipe is a mapping"),
    ],
)
def test_a_damaged_recipe_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    with pytest.raises(DataError, match=r"the recipe .* does not exist"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(DataError, match="cannot read"):
        load_recipe(tmp_path)


def test_the_hash_is_of_content_not_of_spelling(folder: Path) -> None:
    first = load_recipe(recipe(folder)).hash
    (folder / "moved.jsonl").write_bytes((folder / "kyoto.jsonl").read_bytes())
    same = recipe(
        folder,
        "b.yaml",
        concepts={"paris": "paris.jsonl", "kyoto": "moved.jsonl"},
        strength=1,
        erase=["kyoto", "paris"],
    )
    assert load_recipe(same).hash == first
    assert load_recipe(recipe(folder, "c.yaml", strength=0.5)).hash != first
    write_lines(folder / "kyoto.jsonl", [{"text": "Kyoto"}])
    assert load_recipe(recipe(folder)).hash != first
