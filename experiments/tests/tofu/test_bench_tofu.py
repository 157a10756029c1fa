"""The bench on TOFU: pairs, validation, cells, records, tables, figures."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from drawn import texts
from tiny_language import save_llama
from tiny_subject import MILD, save_bench, subject_in
from torch import nn
from toy_methods import ToyLanguageMethod

from mnemotomy.core.errors import ConfigurationError, ModelError, TrainingError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.engram.atlas import Atlas
from mnemotomy.methods.language.closed_form import ClosedForm
from mnemotomy.methods.language.engram import EngramUniform, EngramWeightNorm
from mnemotomy.methods.language.engram_automatic import EngramAutomatic
from mnemotomy.methods.language.gradient import GradientMethod
from mnemotomy.methods.language.npo import NPO
from mnemotomy.methods.language.self_reference import SelfReference
from mnemotomy.methods.language.task_arithmetic import TaskArithmetic
from mnemotomy.methods.language.two_sided import TwoSided
from mnemotomy.methods.registry import methods
from mnemotomy.observe.questions import Asking
from mnemotomy_bench.lab.flops import counted_flops
from mnemotomy_bench.tofu import cells as cells_module
from mnemotomy_bench.tofu import speed
from mnemotomy_bench.tofu.cells import cell_key, flops_cell, row_key, treated_cell
from mnemotomy_bench.tofu.grids import PAPER_SITES
from mnemotomy_bench.tofu.pairs import Pair
from mnemotomy_bench.tofu.references import compared, run_references
from mnemotomy_bench.tofu.run import Plan, run_tofu
from mnemotomy_bench.tofu.sharing import Sharing
from mnemotomy_bench.tofu.show import write_figures, write_tables
from mnemotomy_bench.tofu.speed import run_evaluation_speed
from mnemotomy_bench.tofu.subject import Subject
from mnemotomy_bench.tofu.sweeps import run_sweep, weight_norms
from mnemotomy_bench.tofu.table import columns, table_of
from mnemotomy_bench.tofu.texts import Texts
from mnemotomy_bench.tofu.validation import AS_IN_THE_PAPER, SELECTION


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def subject(folder: Path) -> Subject:
    return subject_in(folder)


def test_a_pair_has_one_tokenizer(folder: Path, tmp_path: Path, subject: Subject):
    assert subject.pair.tokenizer.eos_token_id == 2
    save_llama(tmp_path / "other", template=None)
    with pytest.raises(ModelError, match="have different chat templates"):
        Pair(str(folder / "full"), str(tmp_path / "other")).tokenizer  # noqa: B018


def test_what_is_chosen_on_is_not_what_is_reported(subject: Subject):
    asked = {one.question for one in subject.texts.evaluation["retain"]}
    validated = subject.texts.validation
    assert not asked & {one.question for one in validated["retain"]}
    assert len(validated["retain"]) == 8
    assert all(not one.perturbed_answers and one.paraphrased_answer is None for one in validated["forget"])
    full = subject.validation(subject.full)
    assert full.forgetting < 1e-9
    assert 0.0 <= full.privacy <= 1.0


def test_records_of_a_run(subject: Subject, folder: Path, monkeypatch: pytest.MonkeyPatch, figures: list[Any]):
    grid = {
        "engram-uniform": (EngramUniform(strength=0.5), EngramUniform(strength=1.0)),
        "npo": (NPO(learning_rate=1e-3, epochs=1),),
    }
    plan = Plan(grid, seeds=(0, 1), attacks=MILD)
    records = run_tofu(subject, plan)
    full, retain, engram, npo = records
    assert [one["method"] for one in records] == ["full", "retain", "engram-uniform", "npo"]
    assert full["memorization"] < 1e-9
    assert retain["memorization"] == pytest.approx(1.0)
    assert retain["privacy"] == pytest.approx(1.0)
    assert engram["selection"] == SELECTION
    assert len(engram["searched"]) == 2
    assert engram["seeds"] == [0]
    assert npo["seeds"] == [0, 1]
    assert npo["selection"] == "none: one configuration"
    for one in (engram, npo):
        assert one["seconds"] > 0
        assert one["flops"] > 0
        assert one["peak_bytes"] is not None
        assert 0.0 <= one["overall"] <= 1.0
        assert 0.0 <= one["relearned_memorization"] <= 1.0
        assert one["raw"]["exact_memorization"] <= 1.0
    assert "overall_spread" in npo
    assert retain["bits8_memorization"] == pytest.approx(1.0)
    json.dumps(records)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("run again")

    monkeypatch.setattr(cells_module, "treat", refuse)
    monkeypatch.setattr(cells_module, "counted_flops", refuse)
    assert run_tofu(subject, plan) == records
    again = replace(plan, chosen=records)
    found = run_tofu(subject, again)
    assert found[2]["configuration"] == engram["configuration"]
    assert found[2]["selection"].startswith("chosen on the pair 'tiny'")
    write_tables(records, folder / "out")
    write_figures(records, weight_norms(subject), folder / "out")
    assert "| NPO |" in (folder / "out" / "table-6.md").read_text()
    assert "NPO" not in (folder / "out" / "table-4.md").read_text()
    assert all((folder / "out" / f"{name}.png").is_file() for name in ("pareto", "weight-norms"))
    shown = next(figure for figure in figures if len(figure.axes) == 2 and figure.axes[0].get_xlabel())
    assert sorted(texts(shown.axes[0])) == sorted(one["title"] for one in records)


def test_choosing_as_in_the_paper_is_said(subject: Subject, folder: Path):
    grid = {"engram-uniform": (EngramUniform(strength=0.5), EngramUniform(strength=1.0))}
    plan = Plan(grid, seeds=(0,), attacks=None, flops=False, as_in_the_paper=True)
    record = run_tofu(subject, plan)[2]
    assert record["selection"] == AS_IN_THE_PAPER
    assert record["overall"] == max(one["chosen_by"] for one in record["searched"])


def test_a_broken_model_is_a_record_too(subject: Subject, folder: Path):
    @dataclass(frozen=True)
    class Broken(ToyLanguageMethod):
        strength: float = 1.0

        name: ClassVar = "broken"
        title: ClassVar = "Broken"

        def __call__(self, problem: Any) -> nn.Module:
            model = EngramUniform(strength=self.strength)(problem)
            with torch.no_grad():
                next(model.parameters()).fill_(float("nan"))
            return model

    plan = Plan({"broken": (Broken(), Broken(strength=0.1))}, seeds=(0,), attacks=None, flops=False)
    record = run_tofu(subject, plan)[2]
    assert "overall" not in record
    assert "NaN" in record["failed"][0]["why"]
    assert record["searched"][0]["failed"]
    other = record | {"title": "another", "overall": 0.5}
    assert table_of([record, other], "6").markdown().endswith("| Broken | – |\n| another | **0.500** |")


def test_a_method_that_the_model_does_not_suit_is_left_out(subject: Subject):
    @dataclass(frozen=True)
    class Unsuitable(EngramUniform):
        name: ClassVar = "unsuitable"

        def __call__(self, problem: Any) -> nn.Module:
            raise ModelError("no such blocks")

    plan = Plan({"unsuitable": (Unsuitable(),)}, seeds=(0,), attacks=None, flops=False)
    with pytest.raises(ModelError, match="no such blocks"):
        run_tofu(subject, plan)
    both = replace(plan, methods={**plan.methods, "engram-uniform": (EngramUniform(),)})
    unsuitable, engram = run_tofu(subject, both)[2:]
    assert unsuitable["failed"] == [{"seed": None, "why": "no such blocks"}]
    assert engram["overall"] is not None
    chosen = replace(both, chosen=[unsuitable, engram])
    assert run_tofu(subject, chosen)[3]["selection"].startswith("chosen on the pair")


def test_figures_of_what_was_not_run(tmp_path: Path):
    write_figures([], [{"kind": "q_proj", "layer": 0, "weight_norm": 0.5}], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["weight-norms.png"]


def test_a_table_as_records_has_its_rows_and_columns():
    common = {"title": "A", "pair": "p", "forget": "forget10", "seeds": [0, 1], "raw": {"em": 1.0}}
    records = [
        {"method": "npo", "family": "gradient", "overall": 0.4, "overall_spread": 0.1, "seconds": 2.0} | common,
        {"method": "uce", "family": "closed form", "overall": 0.3, "mu": None} | common,
    ]
    (closed,) = columns(records, "4")
    assert closed == {"method": "uce", "overall": 0.3} | {key: common[key] for key in common if key != "raw"}
    assert columns(records, "7")[0]["overall_spread"] == 0.1
    assert [one["method"] for one in columns(records, "6")] == ["npo", "uce"]


@pytest.mark.parametrize(
    "methods",
    [(EngramUniform(strength=0.5), EngramUniform(strength=2.0)), (EngramWeightNorm(), EngramWeightNorm(cut=1e-3))],
)
def test_shared_work_changes_nothing(
    subject: Subject, methods: tuple[ClosedForm, ...], monkeypatch: pytest.MonkeyPatch
):
    problem = subject.problem(0)
    alone = [fingerprint(method(problem)) for method in methods]
    made: list[Atlas] = []
    read = ClosedForm.moments
    monkeypatch.setattr(ClosedForm, "moments", lambda self, *rest: (made.append(self), read(self, *rest))[1])
    sharing = Sharing(problem)
    assert [fingerprint(sharing.treated(method)) for method in methods] == alone
    assert len(made) == 1


def test_one_task_vector_serves_every_strength(subject: Subject):
    problem = subject.problem(0)
    method = TaskArithmetic(strength=0.5)
    sharing = Sharing(problem)
    first = sharing.treated(replace(method, strength=2.0))
    assert fingerprint(sharing.treated(method)) == fingerprint(method(problem)) != fingerprint(first)


@pytest.mark.parametrize(
    "name", [name for name, kind in methods("language models").items() if issubclass(kind, GradientMethod)]
)
def test_operations_are_those_of_the_whole_run(subject: Subject, name: str):
    few = {"alternates": 1, "max_new_tokens": 4} if name == "alt-po" else {}
    method = methods("language models")[name](epochs=1, batch_size=4, learning_rate=1e-9, **few)
    assert flops_cell(subject, method) == counted_flops(lambda: method(subject.problem(0)))


def test_rows_depend_on_the_gold_standard_and_models_do_not(subject: Subject):
    method = EngramUniform()
    other = replace(subject, pair=replace(subject.pair, retain=subject.pair.full))
    assert cell_key(other, method, 0) == cell_key(subject, method, 0)
    assert row_key(other, method, 0) != row_key(subject, method, 0)
    assert subject.identity["device"] == "cpu"


def test_what_draws_at_random_has_several_runs():
    kinds = methods("language models")
    assert {name for name, kind in kinds.items() if kind.family == "closed form" and kind.draws} == {
        "task-arithmetic", "engram-automatic", "two-sided",
    }  # fmt: skip
    assert all(kind.draws for kind in methods("language models").values() if kind.family != "closed form")


def test_nothing_is_left_of_a_run_that_diverged(subject: Subject):
    method = NPO(learning_rate=1e30, epochs=2, warmup_epochs=0.0, clip=1e30)
    assert "smaller" in treated_cell(subject, method, 0)["failed"]
    assert not (subject.out / "training" / cell_key(subject, method, 0)).exists()


def test_the_sweep_over_kinds_and_cuts(subject: Subject):
    kinds = run_sweep(subject, "kinds", EngramUniform(strength=1.0, sites=PAPER_SITES))
    assert [one["title"] for one in kinds][1:3] == ["Q/K only", "Q/K + Gate"]
    assert kinds[0]["config"]["sites"] == list(PAPER_SITES)
    assert {"up_proj", "lm_head"} <= set(kinds[3]["config"]["sites"])
    assert "Q/K only" in table_of(kinds, "8").markdown()
    variants = run_sweep(subject, "variants", EngramUniform(strength=0.5))
    assert [one["title"] for one in variants] == ["1 round", "2 rounds", "3 rounds", "with embedding rows"]
    assert [one["config"]["rounds"] for one in variants] == [1, 2, 3, 1]
    assert len({one["raw"]["forget_Q_A_Prob"] for one in variants}) == 4
    with pytest.raises(ConfigurationError, match="has no strength to sweep"):
        run_sweep(subject, "strengths", EngramAutomatic())
    with pytest.raises(ConfigurationError, match="there is no sweep 'shapes'"):
        run_sweep(subject, "shapes")


def test_the_reference_of_the_models_own(subject: Subject):
    grid = {
        "two-sided": (TwoSided(steps=1, read=4, search=2),),
        "engram-uniform": (EngramUniform(strength=1.0, sites=PAPER_SITES),),
    }
    plan = Plan(grid, attacks=None, flops=False)
    records = run_tofu(subject, plan)
    methods = compared(records)  # a configuration that is in no grid cannot be found again
    assert methods == [EngramUniform(strength=1.0, sites=PAPER_SITES)]
    found = run_references(subject, methods, SelfReference(count=6, opening="answer", max_new_tokens=8))
    assert [one["reference"] for one in found] == ["retain set", "self:6"]
    assert found[0]["overall"] == records[3]["overall"]
    assert found[0]["folder"] != found[1]["folder"]
    assert "| Engram (ᾱ, uniform), self:6 |" in table_of(found, "reference").markdown()
    with pytest.raises(ConfigurationError, match="the records have none of npo"):
        compared(records, "npo")


def test_places_leave_baselines_out():
    rows = (("baseline", 0.0), ("gradient", 0.3), ("gradient", 0.1), ("gradient", 0.2))
    records = [{"title": str(number), "family": family, "em": em} for number, (family, em) in enumerate(rows)]
    lines = table_of(records, "3").markdown().splitlines()
    assert lines[0] == "| method | EM ↓ |"
    assert lines[2:] == ["| 0 | 0.000 |", "| 1 | 0.300 |", "| 2 | **0.100** |", "| 3 | <u>0.200</u> |"]


def test_grids():
    assert {(one.learning_rate, one.epochs) for one in Plan(["npo"]).grid()["npo"]} == {
        (1e-3, 5), (1e-3, 10), (3e-3, 5), (3e-3, 10),
    }  # fmt: skip
    assert len(Plan(["npo"], scale="paper").grid()["npo"]) == 3 * 3 * 3 * 2
    assert list(Plan().grid()) == list(methods("language models"))
    assert Plan(["engram-uniform"]).grid() == Plan(["engram-uniform"], scale="paper").grid()
    sites = {one.sites for one in Plan(["engram-uniform"]).grid()["engram-uniform"]}
    assert sites == {PAPER_SITES}
    assert all(one.projections.sites == PAPER_SITES for one in Plan(["task-arithmetic"]).grid()["task-arithmetic"])
    with pytest.raises(ConfigurationError, match="there is no method 'nop'"):
        Plan(["nop"]).grid()
    with pytest.raises(ConfigurationError, match="is in no grid of npo"):
        Plan(["npo"], chosen=[{"method": "npo", "configuration": "NPO()"}]).grid()


def test_the_speed_of_the_evaluation_is_measured_on_equal_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch):
    texts, asking = Texts(folder / "tofu"), Asking(max_new_tokens=5, batch_size=4)
    record = run_evaluation_speed(folder / "full", texts, questions=3, asking=asking)
    assert record["largest_difference"] < 2e-3
    assert record["seconds"].keys() == {"once", "per_metric"}
    assert set(record["questions"].values()) == {3}
    apart = speed.metric_by_metric
    monkeypatch.setattr(
        speed, "metric_by_metric", lambda *some: {**apart(*some), "model_utility": apart(*some)["model_utility"] + 0.1}
    )
    with pytest.raises(TrainingError, match=r"model_utility differs by 0\.1 between the two evaluations"):
        run_evaluation_speed(folder / "full", texts, questions=3, asking=asking)
