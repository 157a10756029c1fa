"""The generative bench runs, and says what it measured; a small autoencoder of digits, few epochs."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
import torch
from drawn import bars, image, ticks, titles
from rich.console import Console
from torch import nn
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.core.errors import ConfigurationError, DataError, TrainingError
from mnemotomy_bench.generative import digit_cells, show
from mnemotomy_bench.generative.autoencoder import Subject
from mnemotomy_bench.generative.baselines import BASELINES, ORIGINAL, RETRAIN, Ascent
from mnemotomy_bench.generative.cases import CASES
from mnemotomy_bench.generative.choosing import Trial
from mnemotomy_bench.generative.digit_cells import method_cell
from mnemotomy_bench.generative.digits import METHODS, TITLES, run_digits
from mnemotomy_bench.generative.erasing import ERASURES, PARTS, Erasure, dense_engram
from mnemotomy_bench.generative.measure import damage, damage_of_all
from mnemotomy_bench.generative.observing import mean_error, packed, see, unpacked
from mnemotomy_bench.generative.run import chosen_parts
from mnemotomy_bench.generative.show import write_digit_figures, write_tables
from mnemotomy_bench.generative.table import DIGITS as SHEETS
from mnemotomy_bench.generative.table import markdown, print_records, sheets_of, tables_of
from mnemotomy_bench.lab.cells import cached
from mnemotomy_bench.vision.networks.conv_autoencoder import ConvAutoencoder

pytest.importorskip("sklearn", reason="scikit-learn is not installed; it comes with the extra demo")

CASE = replace(CASES["digits-convae"], epochs=5, batch_size=32, tuned_epochs=1, read=20, test_images=200)
AT_ONE = ERASURES["engram"]
METHODS_RUN = (ORIGINAL, RETRAIN, "fine-tune", "neggrad", "engram", "engram-code")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("generative")


@pytest.fixture(scope="module")
def subject(folder):
    return Subject(CASE, 0, folder / "models")


@pytest.fixture(scope="module")
def records(folder):
    return run_digits(folder, CASE, METHODS_RUN)


# the network and the cases


@pytest.mark.parametrize(("side", "latent"), [(28, 64), (8, 16)])
def test_the_autoencoder_mirrors_itself(side, latent):
    model = ConvAutoencoder(side, latent)
    images = torch.rand(3, 1, side, side)
    codes = model.encode(images)
    assert codes.shape == (3, latent)
    drawn = model(images).detach()
    torch.testing.assert_close(drawn, model.decode(codes).detach())
    assert drawn.shape == images.shape
    assert 0.0 <= float(drawn.min()) <= float(drawn.max()) <= 1.0
    widths = [module.out_channels for module in model.encoder if isinstance(module, nn.Conv2d)]
    assert widths == [16, 32]


def test_sizes_that_do_not_halve_twice_are_refused():
    with pytest.raises(ConfigurationError, match="multiple of 4"):
        ConvAutoencoder(30)
    with pytest.raises(ConfigurationError, match="at least 1"):
        ConvAutoencoder(28, 0)


def test_the_cases_of_every_scale():
    assert [CASES.at(scale)[0].data for scale in ("tiny", "small", "paper")] == ["digits", "mnist", "mnist"]
    paper = CASES.at("paper")[0]
    assert (paper.epochs, paper.latent, len(paper.seeds)) == (50, 64, 5)
    assert len(CASES.at("small")[0].seeds) == 3
    assert CASES.at("small", [7])[0].seeds == (7,)
    with pytest.raises(ConfigurationError, match="no scale"):
        CASES.at("huge")


def test_parts_are_chosen_by_name():
    assert chosen_parts([]) == ("digits", "faces")
    assert chosen_parts(["faces"]) == ("faces",)
    assert chosen_parts(["engram"]) == ("digits",)
    assert chosen_parts(["faces", "digits"]) == ("digits", "faces")
    with pytest.raises(ConfigurationError, match="no part or method 'x'"):
        chosen_parts(["x"])


def test_a_digit_that_is_not_there_is_refused(folder):
    with pytest.raises(DataError, match="class 10 is not in"):
        Subject(replace(CASE, forget=10), 0, folder / "models")


# what is measured


def test_errors_by_class_and_codes_come_from_one_pass(subject):
    seen = see(subject.original, subject.test, 10, batch_size=64)
    with torch.no_grad():
        drawn = subject.original(subject.test.inputs)
        codes = subject.original.encode(subject.test.inputs)
    torch.testing.assert_close(seen.codes, codes)
    threes = subject.test.labels == 3
    expected = (drawn[threes] - subject.test.inputs[threes]).square().mean()
    torch.testing.assert_close(seen.by_class[3], expected)
    whole = (drawn - subject.test.inputs).square().mean()
    assert mean_error(subject.original, subject.test, batch_size=64) == pytest.approx(float(whole))


def test_erased_is_what_the_mean_image_of_the_others_does(subject):
    train = subject.train
    mean = train.inputs[train.labels != 4].mean(0)
    own = subject.read_own(4).inputs
    assert len(own) == CASE.read
    assert float(subject.erased_at[4]) == pytest.approx(float((own - mean).square().mean()), rel=1e-5)
    assert 4 not in subject.read_others(4).labels
    assert len(subject.own(4)) + len(subject.others(4)) == len(train)


def test_damage_is_the_rise_of_errors():
    found = damage([0.1, 0.2, 0.1], [0.5, 0.3, 0.2], 0)
    assert found["own_rise"] == pytest.approx(0.4)
    assert found["others_rise"] == pytest.approx(0.1)
    assert found["selectivity"] == pytest.approx(4.0)
    assert found["own_factor"] == pytest.approx(5.0)
    assert found["others_factor"] == pytest.approx((1.5 + 2.0) / 2)
    assert damage([0.1, 0.2], [0.2, 0.1], 0)["selectivity"] is None
    cells = [{"digit": 0, "by_class": [0.5, 0.2]}, {"digit": 1, "by_class": [0.2, 0.4]}]
    every = damage_of_all([0.1, 0.1], cells)
    assert every["all_selectivity"] == pytest.approx((0.4 + 0.3) / (0.1 + 0.1))
    assert every["all_lowest_selectivity"] == pytest.approx(3.0)


def test_pixels_are_kept_as_bytes():
    images = torch.tensor([0.0, 0.5, 1.0, 0.25]).view(1, 1, 2, 2)
    assert unpacked(packed(images), 2).tolist() == [[[0, 128], [255, 64]]]


def test_a_cell_is_run_once(tmp_path):
    assert cached(tmp_path, {"a": 1}, lambda: {"found": (1, 2)}) == {"found": [1, 2]}
    assert cached(tmp_path, {"a": 1}, lambda: pytest.fail("a cached cell ran again")) == {"found": [1, 2]}
    assert cached(tmp_path, {"a": 2}, lambda: {"found": 3}) == {"found": 3}


# erasing


def test_erasing_at_one_is_the_public_call(subject):
    edited = AT_ONE(subject, 3).model
    expected = mt.erase(subject.atlas, "3").apply(subject.original)
    for name, value in edited.named_parameters():
        torch.testing.assert_close(value, expected.get_parameter(name))
    assert subject.atlas.share("encoder.0", ["3"]) == pytest.approx(len(subject.own(3)) / len(subject.train))


@pytest.mark.parametrize("part", ["encoder", "decoder", "code"])
def test_a_part_is_edited_alone(subject, part):
    edited = Erasure("x", "x", parts=(part,))(subject, 0).model
    for name, module in subject.original.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            changed = not torch.equal(edited.get_submodule(name).weight, module.weight)
            assert changed == PARTS[part](name, module), name


def test_the_weakest_strength_that_erases_is_taken(folder):
    subject = Subject(CASE, 0, folder / "models")
    engram = dense_engram(subject, 0, None)

    def left(strength):
        with engram.erased(engram.sites("code"), strength).on(subject.original):
            return mean_error(subject.original, subject.read_own(0))

    assert left(0.2) < left(0.6)
    subject.erased_at = torch.full((10,), (left(0.2) + left(0.6)) / 2)
    assert Erasure("x", "x", parts=("code",), strengths=(0.8, 0.6, 0.2))(subject, 0).config["strength"] == 0.6
    assert Erasure("x", "x", parts=("code",), strengths=(0.2, 0.1))(subject, 0).config["strength"] == 0.2


def test_the_projector_erases_what_exceeds_the_share(subject):
    engram = dense_engram(subject, 0, 0.5)
    assert engram.threshold == pytest.approx(0.5 + 0.5 * len(subject.own(0)) / len(subject.train))
    operator = subject.atlas.operator("decoder.0", ["0"], mt.Hard(engram.threshold))
    expected = subject.atlas.weight("decoder.0") @ operator.float()
    torch.testing.assert_close(engram.deltas["decoder.0"], expected, atol=1e-4, rtol=1e-4)


def test_what_erases_and_spares_the_others_ranks_first():
    erased, gentle, weak = Trial(0.9, 0.3, True), Trial(0.8, 0.2, True), Trial(0.5, 0.1, False)
    assert max([erased, weak, gentle], key=lambda one: one.rank) is gentle
    assert max([weak, Trial(0.6, 0.5, False)], key=lambda one: one.rank).own == 0.6


def test_ascent_ends_once_the_digit_is_erased(subject):
    outcome = Ascent("x", "x", rates=(0.3,), steps=40, look=1)(subject, 0)
    assert 0 < outcome.config["steps"] < 40
    assert mean_error(outcome.model, subject.read_own(0)) >= float(subject.erased_at[0])
    with pytest.raises(TrainingError, match="every learning rate"):
        Ascent("x", "x", rates=(1e38,), steps=20)(subject, 0)


def test_what_diverges_is_recorded(subject, folder):
    failed = method_cell(folder, subject, Ascent("x", "x", rates=(1e38,), steps=20), 0)
    assert "diverged" in failed["failed"]


# records, tables, figures


def test_records_have_every_number(records):
    by_name = {record["method"]: record for record in records}
    assert list(by_name) == list(METHODS_RUN)
    for record in records:
        assert record["case"] == "digits-convae"
        assert record["seeds"] == [0]
        assert record["settings"]["epochs"] == 5
        assert not record["failed"]
        assert record["own"] > 0
    assert all(by_name["engram"][key] is not None for sheet in SHEETS for key in sheet.columns)
    assert by_name["retrain"]["cka_retrained"] == pytest.approx(1.0)
    assert by_name["fine-tune"]["digits"] == [0]
    assert len(by_name["neggrad"]["by_class"]) == 10


def test_the_engram_impairs_its_digit_above_all(records):
    by_name = {record["method"]: record for record in records}
    assert by_name["engram"]["all_selectivity"] > 2.0
    assert by_name["engram-code"]["all_selectivity"] > by_name["engram"]["all_selectivity"]
    assert by_name["neggrad"]["all_selectivity"] < 2.0


def test_a_second_run_only_reads(folder, records, monkeypatch):
    monkeypatch.setattr(digit_cells, "measure", lambda *_: pytest.fail("a cached cell ran again"))
    assert run_digits(folder, CASE, ("engram",)) == [one for one in records if one["method"] == "engram"]


def test_tables_of_both_halves(records, tmp_path):
    face = {"case": "faces", "method": "engram", "title": "Engram", "before": 0.9, "left": 0.1, "left_spread": 0.02}
    assert tables_of([face])[0].rows[0][:4] == ["Engram", "90.0", "10.0 ± 2.0", "–"]
    assert sheets_of(records[0]) is SHEETS
    shown = markdown(records).split("\n\n")
    assert shown[1].startswith("| method | digit |")
    assert len(shown[1].splitlines()) == 2 + len(records)
    assert "Fine-tune" not in shown[-1]  # it was run for one digit only
    write_tables([*records, face], tmp_path)
    assert (tmp_path / "faces.md").exists()
    console = Console(width=250, record=True, file=io.StringIO())
    print_records([*records, face], console)
    assert "every digit forgotten in turn" in console.export_text()


def test_the_figures_are_of_the_records(folder, records, monkeypatch, figures):
    monkeypatch.setattr(show, "SHOWN", ("engram", "engram-code"))
    paths = write_digit_figures(records, folder, CASE)
    assert [path.name for path in paths] == [
        f"digits-convae-{what}.png" for what in ("reconstructions", "matrices", "errors")
    ]
    assert all(path.is_file() for path in paths)
    by_name = {record["method"]: record for record in records}
    shown, matrices, errors = figures
    assert titles(shown) == [by_name[name]["title"] for name in ("engram", "engram-code")]
    assert ticks(shown.axes[0], "y")[:3] == ["image", "original", "without 0"]
    assert titles(matrices) == [by_name[name]["title"] for name in ("neggrad", "engram", "engram-code")]
    ratio = by_name["engram"]["by_class"][3][4] / by_name["original"]["by_class"][0][4]
    assert image(matrices.axes[1])[3, 4] == pytest.approx(ratio)
    assert bars(errors.axes[0])[0] == pytest.approx([1000 * one for one in by_name["original"]["by_class"][0]])


def test_every_method_has_a_title():
    assert set(TITLES) == {ORIGINAL, RETRAIN, *METHODS}
    assert set(METHODS) == {*BASELINES, *ERASURES}
    assert all(erasure.digits(CASE, 10) == tuple(range(10)) for erasure in ERASURES.values())


def test_an_unknown_name_is_one_line(tmp_path):
    result = CliRunner().invoke(app, ["bench", "generative", "--scale", "tiny", "--only", "x", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "there is no part or method 'x'" in result.output


@pytest.mark.slow
def test_the_tiny_bench_from_the_command_line(tmp_path):
    arguments = ["bench", "generative", "--scale", "tiny", "--out", str(tmp_path), "--json", "-"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    records = {record["method"]: record for record in found if record["case"] == "digits-convae"}
    assert list(records) == list(TITLES)
    assert records["engram"]["all_lowest_selectivity"] > 2.0
    assert records["engram-automatic"]["all_selectivity"] > 2 * records["engram"]["all_selectivity"]
    assert records["retrain"]["own"] < records["engram"]["own"]
    for figure in ("reconstructions", "matrices", "errors"):
        assert (tmp_path / f"digits-convae-{figure}.png").is_file()
    for case in {record["case"] for record in found}:
        assert (tmp_path / f"{case}.md").read_text().count("| method |") >= 2
