"""The benches of the second system run, and say what they measured; small models, few steps."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from drawn import lines, titles
from typer.testing import CliRunner

from mnemotomy.cli import app
from mnemotomy.core.errors import DataError
from mnemotomy.data.real_facts import real_facts
from mnemotomy.demo.world import small_world
from mnemotomy.demo.world_model import WorldModelConfig
from mnemotomy.metabolism.rlcp import RLCP
from mnemotomy_bench.metabolism import measure as measures
from mnemotomy_bench.metabolism import run as runs
from mnemotomy_bench.metabolism import subject as subjects
from mnemotomy_bench.metabolism.configurations import ORIGINAL, configurations, explained, plan_of
from mnemotomy_bench.metabolism.decouple import decouple
from mnemotomy_bench.metabolism.decouple_show import COLUMNS as DECOUPLED
from mnemotomy_bench.metabolism.decouple_show import table_of as decouple_table
from mnemotomy_bench.metabolism.measure import measure, told
from mnemotomy_bench.metabolism.mechanism import energy, gradients, tsne
from mnemotomy_bench.metabolism.reasoning import readable, reasoning
from mnemotomy_bench.metabolism.show import COLUMNS, table_of, write_figures
from mnemotomy_bench.metabolism.subject import model_subject, world_subject
from mnemotomy_bench.metabolism.world_facts import world_facts

pytest.importorskip("sklearn", reason="scikit-learn is not installed; it comes with the extra demo")


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    config = WorldModelConfig(hidden_size=24, intermediate_size=24, layers=3, heads=2, key_value_heads=1, steps=4)
    whole = world_subject(0, tmp_path_factory.mktemp("models"), config)
    return replace(whole, facts=whole.facts[:4], arithmetic=whole.arithmetic[:6], others=whole.others[:6])


@pytest.fixture(scope="module")
def loaded(subject):
    return subject.load()


def test_every_column_is_measured(subject, loaded):
    record = measure(*loaded, subject, RLCP().layer)
    absent = [key for key in COLUMNS if key not in record]
    assert absent == ["adversarial_probe", "seconds"]
    assert record["chance"] == 0.25
    assert [one["layer"] for one in record["layers"]] == [0, 1, 2, 3]
    assert 0 < record["evidence_weight"] < 1
    assert record["perplexity"] > 1


def test_a_context_is_true_or_says_something_else(subject):
    for (prompt, answer), context in told(subject, heldout=False):
        assert context in prompt
        assert answer in context
    true = {fact.subject: fact.answer for fact in subject.facts}
    for (prompt, answer), _ in told(subject, heldout=True, counterfactual=True):
        subject_named = next(name for name in true if name in prompt)
        assert answer != true[subject_named]


def test_the_configurations_are_the_papers_and_ours():
    names = list(configurations("small", 0))
    assert names[0] == ORIGINAL
    assert len(names) == 12
    assert sum("rate" in name for name in names) == 3
    assert all(config is None or config.training.seed == 3 for config in configurations("tiny", 3).values())


def test_a_cell_is_run_once_and_summed_up(subject, tmp_path, monkeypatch, figures):
    monkeypatch.setattr(runs, "subject_for", lambda *_: subject)
    few = lambda scale, seed: {  # noqa: E731
        ORIGINAL: None,
        "B just-RAG": RLCP.just_rag(training=replace(RLCP().training, epochs=1, seed=seed)),
    }
    monkeypatch.setattr(runs, "configurations", few)
    first = runs.run_metabolism(tmp_path, scale="tiny", seeds=(0, 1))
    monkeypatch.setattr(runs, "metabolize", lambda *_, **__: pytest.fail("a cached cell ran again"))
    again = runs.run_metabolism(tmp_path, scale="tiny", seeds=(0, 1))
    assert first == again
    assert [record["configuration"] for record in first] == [ORIGINAL, "B just-RAG"]
    assert first[1]["seeds"] == [0, 1]
    assert "recall_train_spread" in first[1]
    assert first[0].get("probe_loss") is None
    assert first[1]["probe_loss"] > 0 < first[1]["gradient_norm"]
    shown = table_of(first)
    assert [row[0] for row in shown.rows] == [ORIGINAL, "B just-RAG"]
    assert all("–" not in text for text in shown.rows[1])
    mechanism = runs.run_mechanism(tmp_path, names=["B just-RAG"], scale="tiny", seed=0)
    write_figures(first, mechanism, tmp_path)
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        "probes", "attention", "states", "gradients", "attention-map",
    }  # fmt: skip
    probes = next(figure for figure in figures if "linear probe, fitted after training" in titles(figure))
    read = [100 * one["linear"] for one in first[1]["layers"]]
    assert lines(probes.axes[0])["B just-RAG"] == pytest.approx(read)


def test_a_later_seed_may_stop_early():
    def one(seed: int, stopped: str | None) -> dict:
        return {"seed": seed, "stopped": stopped, "recall_train": 0.5, "layers": [], "config": {}, "versions": {}}

    assert runs.summary("x", [one(0, None), one(1, "the loss is not finite")])["stopped"] == ["the loss is not finite"]


def test_reasoning_is_measured_once_there_are_problems(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "subject_for", lambda *_: subject)
    monkeypatch.setattr(runs, "configurations", lambda *_: {ORIGINAL: None})
    for name in ("tsne", "attention_map", "magnified", "gradients", "energy"):
        monkeypatch.setattr(runs, name, lambda *_, name=name: name)
    parts = {name.removesuffix("_map"): name for name in ("tsne", "attention_map", "magnified", "gradients", "energy")}

    def found(data):
        return runs.run_mechanism(tmp_path, names=[ORIGINAL], scale="tiny", seed=0, data=data)[ORIGINAL]

    runs.run_metabolism(tmp_path, scale="tiny", seeds=(0,))
    assert found(None) == found(tmp_path / "empty") == parts
    problems = tmp_path / "data" / "gsm8k" / "test.jsonl"
    problems.parent.mkdir(parents=True)
    problems.write_text(json.dumps({"question": "How many clips did she sell in all of May?", "answer": "#### 48"}))
    assert found(tmp_path / "data") == parts | {"reasoning": {"readable": False}}


def test_the_mechanism_is_measured(subject, loaded):
    model, tokenizer = loaded
    plane = tsne(model, tokenizer, subject, 2)
    assert len(plane["points"]) == len(plane["kind"]) == len(plane["answer"])
    assert set(plane["kind"]) == {"city", "fruit"}
    found = gradients(model, tokenizer, subject)
    json.dumps(found)
    assert found["proposition"]["bound"] >= 0
    spent = energy(model, tokenizer, subject, samples=2)
    assert spent["total"] > 0
    assert len(spent["energy"]) == 3


def test_reasoning_is_left_out_where_the_tokenizer_cannot_read(loaded):
    model, tokenizer = loaded
    problem = ("Natalia sold clips to 48 of her friends. How many clips did she sell?", "#### 48")
    assert not readable(tokenizer, [problem[0]])
    assert reasoning(model, tokenizer, [problem]) == {"readable": False}


def test_reasoning_counts_what_a_model_writes():
    from tiny_language import tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    made = tokenizer(None)
    model = LlamaForCausalLM(
        LlamaConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=512)
    ).eval()
    found = reasoning(model, made, [("1 + 1 = ?", "#### 2"), ("2 + 2 = ?", "#### 4")], max_new_tokens=8)
    assert found["readable"]
    assert found["problems"] == 2
    assert set(found["words"]) == {"mean", "low", "high"}


def test_decouple_measures_the_store_beside_a_model(subject, loaded, tmp_path):
    model, tokenizer = loaded
    others = world_facts(small_world(), small_world().others[:3])
    record = decouple(model, tokenizer, subject, others, tmp_path / "s.db")
    assert record["admits_deletion"] > 0.9
    assert record["admits_absent"] > 0.9
    assert all(0.0 <= value <= 1.0 for value in record.values())
    shown = {"model": "untrained", **record}
    (row,) = decouple_table([shown]).rows
    assert row[0] == "untrained"
    assert row[1:] == [f"{100 * record[key]:.1f}" for key in DECOUPLED]


@pytest.fixture
def pretrained(tmp_path, monkeypatch):
    """A tiny model that is said to know every second fact."""
    from tiny_language import tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, vocab_size=512
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer(None).save_pretrained(tmp_path / "model")
    monkeypatch.setattr(subjects, "known_facts", lambda model, tokenizer, relation: real_facts(relation)[::2])
    monkeypatch.setattr(subjects, "OWN_TOKENS", 40)
    return str(tmp_path / "model")


def test_a_subject_from_what_a_pretrained_model_knows(pretrained, tmp_path):
    subject = model_subject(pretrained, 0, tmp_path / "cells")
    assert len({fact.answer for fact in subject.facts}) == len(subject.facts) == 15
    known = {fact.subject for fact in real_facts("country")[::2]}
    assert {fact.subject for fact in subject.facts} <= known
    assert all(fact.prompts and fact.contexts and fact.heldout_prompts for fact in subject.facts)
    targets = {fact.subject for fact in subject.facts}
    own = " ".join(subject.retain)
    retained = {name for name in known if f"{name} is a city" in own}
    unseen = {name for name in known for prompt, _ in subject.others if name in prompt}
    assert retained
    assert unseen
    assert not unseen & targets
    assert not retained & (unseen | targets)
    spared = {fact.subject for fact in subject.neighbours}
    assert retained < spared
    assert not spared & (unseen | targets)
    assert all(fact.subject in prompt for fact in subject.neighbours for prompt in fact.prompts)
    again = model_subject(pretrained, 0, tmp_path / "cells")
    assert again.digest() == subject.digest()
    assert model_subject(pretrained, 1, tmp_path / "cells").digest() != subject.digest()


def test_its_own_texts_are_short_and_the_same_for_every_seed(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(subjects, "OWN_LENGTH", 5)
    one, other = (model_subject(pretrained, seed, tmp_path / "cells") for seed in (0, 1))
    assert one.retain[-8:] == other.retain[-8:]  # 40 tokens need no more than the least number of texts
    tokenizer = one.load()[1]
    longest = max(len(tokenizer(text)["input_ids"]) for text in one.retain[-8:])
    assert longest <= 15  # half a letter is written as three bytes; uncut, a text has 64 tokens


def test_a_pretrained_model_has_sizes_of_its_own():
    plan, found = plan_of("full"), configurations("full", 0)
    for name in ("RLCP stable", "RLCP from engram"):
        training = found[name].training
        assert (training.batch_size, training.retained) == (plan.working_batch_size, plan.working_retained)
        assert training.blocks == plan.working_blocks
        assert found[name].lambda_retain == plan.working_lambda_retain
    assert found["RLCP, rate 0.0001"].training.batch_size == 4
    subjects = found["RLCP from subjects"]
    assert subjects.engram.subjects
    assert (subjects.training.epochs, subjects.training.retained) == (16, 24)
    assert "RLCP from subjects" not in configurations("small", 0)


@pytest.mark.parametrize(("scale", "published"), [("small", "RLCP, rate 0.0003"), ("full", "RLCP, rate 0.0001")])
def test_the_mechanism_is_that_of_the_baselines_rate(scale, published):
    assert published in explained(scale)
    assert published in configurations(scale, 0)


def test_a_model_that_knows_too_few_countries_is_refused(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(subjects, "known_facts", lambda model, tokenizer, relation: real_facts(relation)[:12])
    with pytest.raises(DataError, match="15 are needed"):
        model_subject(pretrained, 0, tmp_path / "cells")


def test_what_a_pretrained_model_writes_is_judged(pretrained, tmp_path, monkeypatch):
    subject = model_subject(pretrained, 0, tmp_path / "cells")
    monkeypatch.setattr(measures, "share_said", lambda model, tokenizer, pairs: 0.25)
    record = measure(*subject.load(), replace(subject, heldout_texts=subject.heldout_texts[:2]), RLCP().layer)
    assert record["recall_train"] == record["relations"] == record["counterfactual_heldout"] == 0.25
    assert record["chance"] == pytest.approx(1 / 15)


def test_an_unknown_configuration_is_one_line(tmp_path):
    result = CliRunner().invoke(app, ["bench", "metabolism", "--only", "nothing", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "there is no configuration 'nothing'" in result.output


@pytest.mark.slow
def test_the_tiny_benches_from_the_command_line(tmp_path):
    result = CliRunner().invoke(app, ["bench", "metabolism", "--scale", "tiny", "--out", str(tmp_path), "--json", "-"])
    assert result.exit_code == 0, result.output
    records = {record["configuration"]: record for record in json.loads(result.stdout)}
    for name in ("RLCP stable", "RLCP from engram"):
        record = records[name]
        assert max(record["recall_train"], record["recall_heldout"]) <= 0.067
        assert min(record["context_train"], record["counterfactual_heldout"]) >= 0.98
        assert record["fresh_linear"] <= 2 * record["chance"]
    result = CliRunner().invoke(app, ["bench", "decouple", "--scale", "tiny", "--out", str(tmp_path), "--json", "-"])
    assert result.exit_code == 0, result.output
    rows = {record["model"]: record for record in json.loads(result.stdout)}
    assert rows["RLCP stable"]["without_store"] <= 0.067
    assert rows["RLCP stable"]["stale"] <= 0.02
