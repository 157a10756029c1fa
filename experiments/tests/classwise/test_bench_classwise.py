"""The class-wise bench runs, and says what it measured; a small network of digits, few steps."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from drawn import legend, lines, ticks, titles
from tiny_classwise import CASE, EXTRACTED, FEW
from torch import nn
from typer.testing import CliRunner

from mnemotomy.cli import app
from mnemotomy.core.errors import ConfigurationError, DataError, ModelError
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import head_of
from mnemotomy.methods.classifiers.engram import STRENGTHS, EngramMethod, EngramPaper
from mnemotomy.methods.classifiers.fine_tune import FineTune
from mnemotomy.methods.classifiers.gradient import LEARNING_RATES
from mnemotomy.methods.classifiers.neggrad import NegGrad
from mnemotomy.methods.registry import methods
from mnemotomy_bench.classwise import cells as cells_module
from mnemotomy_bench.classwise.cases import CASES, cases
from mnemotomy_bench.classwise.cells import best_place, cached, method_cell
from mnemotomy_bench.classwise.class_engrams import Anatomy
from mnemotomy_bench.classwise.cost import cost, extraction
from mnemotomy_bench.classwise.degradation import degradation
from mnemotomy_bench.classwise.flops import counted_flops, method_flops, training_flops
from mnemotomy_bench.classwise.grids import ORIGINAL, RETRAIN, Grid
from mnemotomy_bench.classwise.observing import see
from mnemotomy_bench.classwise.relearning import Relearning, relearn
from mnemotomy_bench.classwise.run import chosen_cases, run_case
from mnemotomy_bench.classwise.spectrum import spectra
from mnemotomy_bench.classwise.subject import Subject
from mnemotomy_bench.classwise.table import COLUMNS, table_of
from mnemotomy_bench.classwise.training import load_superclasses, recipe
from mnemotomy_bench.figures.classwise import cka_scatter, cost_bars, degradation_scatter, spectra_panels
from mnemotomy_bench.lab.resources import measured
from mnemotomy_bench.vision.examples import load_examples, some
from mnemotomy_bench.vision.images import VARIABLE

pytest.importorskip("sklearn", reason="scikit-learn is not installed; it comes with the extra demo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("classwise")


@pytest.fixture(scope="module")
def subject(folder):
    return Subject(CASE, 0, folder / "models")


@pytest.fixture(scope="module")
def anatomy(subject):
    return Anatomy(subject)


@pytest.fixture(scope="module")
def records(folder):
    rows = {name: row for name, row in FEW.rows().items() if name in ("neggrad", "engram", "engram-grid")}
    return run_case(folder, replace(CASE, seeds=(0, 1)), rows, [ORIGINAL, RETRAIN, *rows])


# the rows and the cases


def test_the_papers_grids_are_table_5():
    rows = Grid().rows()
    assert {*methods("classifiers")} - {"retrain"} <= set(rows)
    assert {method.learning_rate for method in rows["fine-tune"].methods} == set(LEARNING_RATES)
    assert [method.strength for method in rows["engram-grid"].methods] == list(STRENGTHS)
    assert len(rows["l1-sparse"].methods) == 21
    assert len(rows["neggrad-plus"].methods) == 14
    assert all(method in rows["salun"].methods for method in methods("classifiers")["salun"].grid())
    assert list(rows["engram-recalibrated"].methods) == list(methods("classifiers")["engram-recalibrated"].grid())
    assert "engram-recalibrated" not in Grid(batch_norm=False).rows()
    assert rows["engram-automatic-twice"].methods[0].rounds == 2
    assert "no test example" in rows["engram-automatic"].selection
    few = [method for row in Grid(collected=7, fields_read=3).rows().values() for method in row.methods]
    engrams = [method for method in few if isinstance(method, EngramMethod)]
    assert {(method.collected, method.rows) for method in engrams} == {(7, 3)}
    assert {type(method).name for method in engrams} == {
        name for name in methods("classifiers") if name.startswith("engram")
    }
    assert "sees test accuracy" in rows["engram-grid"].selection


def test_the_cases_of_every_scale(tmp_path):
    assert [len(cases(scale, data=tmp_path)) for scale in ("tiny", "small", "paper")] == [1, 3, 4]
    (tmp_path / "cifar100").mkdir()
    assert {"cifar100-resnet18", "cifar100-resnet50"} < set(cases("paper", data=tmp_path))
    assert all(
        recipe(case).epochs for scale in ("tiny", "small", "paper") for case in cases(scale, data=tmp_path).values()
    )
    assert all(len(case.seeds) >= 3 for case in cases("small").values() if not case.matrices_only)
    assert chosen_cases("small", [7], ["mnist-mlp", "engram"], None)[0].seeds == (7,)
    with pytest.raises(ConfigurationError, match="no scale"):
        cases("huge")
    with pytest.raises(ConfigurationError, match="no case or method 'nothing'"):
        chosen_cases("tiny", None, ["nothing"], None)


def test_cifar_100_brings_its_superclasses(tmp_path):
    datasets = pytest.importorskip("datasets")
    image = pytest.importorskip("PIL.Image")
    rows = {"img": [image.new("RGB", (4, 4))] * 4, "fine_label": [0, 1, 2, 2], "coarse_label": [1, 0, 1, 1]}
    features = datasets.Features(
        img=datasets.Image(), fine_label=datasets.ClassLabel(3), coarse_label=datasets.ClassLabel(names=["a", "b"])
    )
    (tmp_path / "cifar100").mkdir()
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "cifar100" / "test.parquet")
    assert load_superclasses("cifar100", tmp_path) == {"a": (1,), "b": (0, 2)}
    assert load_superclasses("mnist", None) == {}


def test_a_class_that_is_not_there_is_refused(folder):
    with pytest.raises(DataError, match="class 10 is not in"):
        Subject(replace(CASE, forget=10), 0, folder / "models")


def test_images_that_were_replaced_are_read_again(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    image = pytest.importorskip("PIL.Image")
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(2))
    for name, labels in (("one", [0, 1]), ("two", [1, 0]), ("two", [1, 1, 0])):
        (tmp_path / name / "blobs").mkdir(parents=True, exist_ok=True)
        rows = {"image": [image.new("L", (4, 4))] * len(labels), "label": labels}
        datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / name / "blobs" / "test.parquet")
        monkeypatch.setenv(VARIABLE, str(tmp_path / name))
        assert load_examples("blobs", "test", None)[0].labels.tolist() == labels


def test_cells_are_of_these_test_images(folder):
    one, other = (Subject(CASE, 0, folder / "models") for _ in range(2))
    other.test = Examples(one.test.inputs, one.test.labels.flip(0))
    assert one.identity != other.identity


# observing, relearning, cost


def test_one_pass_sees_what_the_head_reads(subject):
    seen = see(subject.original, subject.test, batch_size=100)
    head = head_of(subject.original, subject.test)
    torch.testing.assert_close(head(seen.features), seen.logits)
    assert seen.accuracy == pytest.approx(float(seen.by_class @ torch.bincount(seen.labels).float()) / len(seen.labels))
    assert seen[:5].losses.shape == (5,)
    with pytest.raises(ModelError, match="no linear layer"):
        head_of(nn.Flatten(), subject.test)


def test_relearning_teaches_a_copy(subject):
    before = see(subject.retrained, subject.test).logits
    taught = relearn(subject.retrained, subject.problem.forget, Relearning(steps=30, learning_rate=0.01))
    assert see(taught, subject.problem.forget).accuracy == 1.0
    torch.testing.assert_close(see(subject.retrained, subject.test).logits, before)


def test_memory_and_time_are_measured():
    kept = []
    with measured(torch.device("cpu")) as usage:
        kept.append(torch.ones(16 * 2**20, dtype=torch.uint8))
    assert usage.seconds > 0
    if usage.peak_bytes is not None:
        assert 15 * 2**20 < usage.peak_bytes < 32 * 2**20


def test_operations_are_counted():
    layer, rows = nn.Linear(8, 4, bias=False), torch.ones(16, 8)
    assert counted_flops(lambda: layer(rows)) == 2 * 16 * 8 * 4
    grouped = torch.ones(5, 16, 8)
    assert counted_flops(lambda: torch.zeros(8, 8).addmm_(rows.T, rows)) == 2 * 8 * 16 * 8
    assert counted_flops(lambda: torch.zeros(5, 8, 8).baddbmm_(grouped.mT, grouped)) == 5 * 2 * 8 * 16 * 8
    symmetric = torch.eye(6)
    assert counted_flops(lambda: torch.linalg.eigh(symmetric)) == 9 * 6**3
    assert counted_flops(lambda: torch.linalg.cholesky(symmetric)) == 72
    upper, right = torch.eye(6), torch.ones(6, 3)
    assert counted_flops(lambda: torch.linalg.solve_triangular(upper, right, upper=True)) == 6 * 6 * 3
    # the first layer passes no gradient on: two products each, three for any other
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))
    examples = Examples(torch.ones(64, 8), torch.zeros(64, dtype=torch.long))
    once = 2 * 64 * (2 * 8 * 4 + 3 * 4 * 3)
    assert training_flops(model, examples, epochs=5) == 5 * once


def test_thinned_counts_are_the_whole_counts(subject):
    problem = subject.problem
    whole = counted_flops(lambda: FineTune(epochs=2)(problem))
    assert method_flops(FineTune(epochs=2), problem) == pytest.approx(whole, rel=0.01)
    assert method_flops(EngramPaper(), problem) > 0


# cells and records


@pytest.mark.parametrize("native", [True, False])
def test_gradient_methods_run_in_bfloat16_where_that_is_fast(tmp_path, subject, monkeypatch, native):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    halved = Subject(replace(CASE, bfloat16=True), 0, subject.cache_dir)
    assert halved.bfloat16 == native
    assert (halved.identity == subject.identity) != native
    seen = []

    def look(method, problem):
        seen.append(torch.is_autocast_enabled("cpu"))
        return problem.model

    for kind in (NegGrad, EngramPaper):
        monkeypatch.setattr(kind, "__call__", look)
    records = [method_cell(tmp_path, halved, method) for method in (NegGrad(0.01, 1), EngramPaper())]
    assert seen == [record["bfloat16"] for record in records] == [native, False]


def test_a_cell_is_run_once(subject, folder, monkeypatch):
    first = method_cell(folder, subject, EngramPaper())
    monkeypatch.setattr(cells_module, "measure", lambda *_: pytest.fail("a cached cell ran again"))
    assert method_cell(folder, subject, EngramPaper()) == first
    assert cached(folder, subject, {"analysis": "x"}, lambda: {"found": (1, 2)})["found"] == [1, 2]


def test_what_diverges_is_recorded_and_skipped(subject, folder, records):
    assert "smaller" in method_cell(folder, subject, NegGrad(1e30, 1))["failed"]
    assert best_place([{"failed": "x"}, {"failed": None, "tow": 0.2}, {"failed": None, "tow": 0.1}]) == 1
    record = next(one for one in records if one["method"] == "neggrad")
    assert record["config"]["learning_rate"] == 0.01
    assert [failure["config"]["learning_rate"] for failure in record["failed"]] == [1e30]


def test_a_method_of_which_nothing_converges_has_no_numbers(folder):
    rows = {"neggrad": replace(FEW.rows()["neggrad"], methods=(NegGrad(1e30, 1),))}
    (record,) = run_case(folder, CASE, rows, ["neggrad"])
    assert record["tow"] is None
    assert record["diverged_seeds"] == [0]
    assert table_of([record], ["membership_accuracy"]).rows == [[record["title"], "–"]]
    assert cost(EXTRACTED, [record])["cheapest"] is None


def test_every_column_is_measured(records):
    by_name = {record["method"]: record for record in records}
    assert list(by_name) == [ORIGINAL, RETRAIN, "neggrad", "engram", "engram-grid"]
    for record in records:
        assert record["seeds"] == [0, 1]
        assert all(record[key] is not None for key in COLUMNS)
        assert 0.0 <= record["tow"] <= 1.0
        assert record["settings"]["training"]["epochs"] == 4
    retrain = by_name[RETRAIN]
    assert 0.9 < retrain["tow"] < 1.0  # between seeds
    assert retrain["cka_retrained"] < 1.0
    assert by_name[ORIGINAL]["cka_original"] < 1.0
    assert retrain["forget"] == 0.0
    engram = by_name["engram-grid"]
    assert engram["tow_gap"] == pytest.approx(abs(engram["tow"] - retrain["tow"]))
    assert engram["tow"] >= by_name["engram"]["tow"] - 0.1
    assert "tow_spread" in engram


def test_best_and_second_best_are_marked():
    def record(method, tow, gap):
        return {"method": method, "title": method, "tow": tow, "membership_accuracy": 0.5, "tow_gap": gap,
                "membership_accuracy_gap": gap}  # fmt: skip

    rows = [record(RETRAIN, 1.0, 0.0), record("a", 0.9, 0.2), record("b", 0.8, 0.1), record("c", 0.9, 0.3)]
    assert table_of(rows, ["tow", "membership_accuracy"]).markdown().splitlines() == [
        "| method | ToW ↑ | MIA accuracy ≈ |",
        "|---|---:|---:|",
        "| retrain | 1.000 | 0.500 |",
        "| a | **0.900 (0.200)** | <u>0.500 (0.200)</u> |",
        "| b | <u>0.800 (0.100)</u> | **0.500 (0.100)** |",
        "| c | **0.900 (0.300)** | 0.500 (0.300) |",
    ]


def test_without_numbers_a_dash():
    row = {"method": "a", "title": "a", "tow": None}
    assert table_of([row], ["tow"]).markdown().endswith("| a | – |")


def test_few_examples_are_the_same_ones(subject, folder):
    few = Subject(replace(CASE, read=20, test_images=30, given=100, retained=50), 0, folder / "models")
    assert len(few.test) == 30
    assert len(few.closed_form_problem.forget) + len(few.closed_form_problem.retain) == 100
    seen = few.problem_for(FineTune())
    assert (len(seen.forget), len(seen.retain)) == (len(few.problem.forget), 50)
    assert few.problem_for(EngramPaper()) is few.closed_form_problem
    assert len(few.original_view.forget.labels) == len(few.original_view.retain.labels) == 20
    torch.testing.assert_close(some(subject.train, 7).inputs, some(subject.train, 7).inputs)


def test_the_cost_is_of_all_classes(anatomy):
    extracted = extraction(anatomy)
    assert extracted["classes"] == 10
    assert extracted["flops"] > 0
    assert extracted["collecting_seconds"] < extracted["seconds"]
    records = [
        {"method": "neggrad", "config": {"epochs": 2}, "seconds": 1.0, "flops": 4, "tow": 0.5},
        {"method": "fine-tune", "config": {"epochs": 10}, "seconds": 3.0, "flops": 8, "tow": 0.9},
        {"method": "engram", "config": {"strength": 1.0}, "seconds": 0.1, "flops": 1, "tow": 0.9},
    ]
    found = cost(EXTRACTED, records)
    assert set(found["baselines"]) == {"neggrad", "fine-tune"}
    assert found["cheapest"] == "neggrad"
    assert found["baselines"]["neggrad"]["times_cheaper"] == 20
    assert found["baselines"]["neggrad"]["times_cheaper_published"] == 50
    assert found["baselines"]["fine-tune"]["times_cheaper_flops"] == 40


def test_the_figures_are_of_the_records(anatomy, records, tmp_path, figures):
    cka_scatter(records, tmp_path / "cka.png")
    spectra_panels(spectra(anatomy), anatomy.subject.class_names, tmp_path / "spectra.png")
    found = degradation(anatomy, [1.0] * 10, {"a": torch.rand(10, 10).tolist(), "b": [[1.0] * 10] * 10})
    degradation_scatter(found, tmp_path / "degradation.png")
    cost_bars(cost(EXTRACTED, records), tmp_path / "cost.png")
    scatter, panels, drops, costs = figures
    assert legend(scatter.axes[1]) == [record["title"] for record in records]
    assert lines(panels.axes[0]).keys() == set(anatomy.subject.class_names)
    assert [title.split(":")[0] for title in titles(drops)] == ["a", "b"]
    assert titles(drops)[1] == "b: no variation"
    assert ticks(costs.axes[0], "y")[0] == "engrams of all classes"


def test_an_unknown_name_is_one_line(tmp_path):
    result = CliRunner().invoke(app, ["bench", "classwise", "--scale", "tiny", "--only", "x", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "there is no case or method 'x'" in result.output


@pytest.mark.slow
def test_the_tiny_bench_from_the_command_line(tmp_path):
    arguments = ["bench", "classwise", "--scale", "tiny", "--out", str(tmp_path), "--json", "-"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    records = {record["method"]: record for record in json.loads(result.stdout)}
    assert list(records) == [ORIGINAL, RETRAIN, *CASES["digits-mlp"].grid.rows()]
    assert set(COLUMNS) <= set(records["engram"])
    assert records["engram-automatic"]["tow"] > 0.85
    assert records["engram-grid"]["tow"] >= records["engram"]["tow"]
    analyses = json.loads((tmp_path / "analyses.json").read_text())["digits-mlp"]
    assert all(sum(size["subsets"] for size in sizes) == 1023 for sizes in analyses["subsets"]["sizes"].values())
    for figure in ("cka", "matrices", "groups", "subsets", "degradation", "spectra", "cost"):
        assert (tmp_path / f"digits-mlp-{figure}.png").is_file()
    assert (tmp_path / "digits-mlp.md").read_text().startswith("| method |")
