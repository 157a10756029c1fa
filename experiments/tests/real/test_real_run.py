"""The bench on pretrained models, on a tiny one that is taken to know some facts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_language import save_llama

from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.data.real_facts import real_facts
from mnemotomy.engram.filters import Power
from mnemotomy_bench.real import run as running
from mnemotomy_bench.real.forms import ATTENTION, FORMS, STRONGER
from mnemotomy_bench.real.plan import PLAN, records
from mnemotomy_bench.real.run import BEFORE, RULE, RealRun
from mnemotomy_bench.real.show import markdown_of, probes_by_block
from mnemotomy_bench.real.surgery import ATTENTION_SITES, Surgery
from mnemotomy_bench.real.world import tasks

pytestmark = pytest.mark.filterwarnings("ignore::mnemotomy.SurgeryWarning")

SOME = ("paper's μ", "μ²", "projector", "attention, upper third: paper's μ, outputs")
KNOWN = {"country": real_facts("country")[:44], "capital": real_facts("capital")[:6], "language": ()}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealRun:
    monkeypatch.setattr(running, "known_facts", lambda model, tokenizer, relation, tokens: KNOWN[relation])
    monkeypatch.setattr(running, "FORMS", {name: FORMS[name] for name in SOME})
    monkeypatch.setattr(running, "OWN_TOKENS", 200)
    return RealRun(str(save_llama(tmp_path / "tiny")), tmp_path / "out", ["The bus took the longer way."])


def test_a_request_is_measured_once(tiny: RealRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = records(tiny, "country", 0)
    assert [row["edit"] for row in rows] == [BEFORE, *SOME, RULE]
    assert {row["seed"] for row in rows} == {0}
    chosen = next(row for row in rows if row["edit"] == RULE)
    assert chosen["candidate"] in {row["candidate"] for row in rows[1:-1]}
    assert len(chosen["probe"]) == 2
    assert {"target", "target_heldout", "seen_heldout", "unseen_heldout", "context", "perplexity"} <= set(chosen)
    assert chosen["perplexity"] != rows[0]["perplexity"]
    for name in ("numbers", "decoded", "Surgery"):
        monkeypatch.setattr(running, name, _refused)
    monkeypatch.setattr(RealRun, "_surgery", lambda *_: None)
    again = records(RealRun(tiny.model, tiny.out, tiny.texts), "country", 0)
    assert again == rows
    text = markdown_of(rows)
    assert "tiny: the " in text
    assert f"seed 0: {chosen['candidate']}" in text
    probes_by_block(rows, tmp_path / "probes.png")
    assert (tmp_path / "probes.png").is_file()


def _refused(*_: Any) -> Any:
    raise AssertionError("computed again")


def test_one_request_after_the_other(tiny: RealRun) -> None:
    rows = records(tiny, "sequence", 0)
    assert [row["requests"] for row in rows] == [1, 5, 10, 1, 5, 10, 10]
    assert [row["facts"] for row in rows] == [row["requests"] for row in rows]
    rows = records(tiny, "references", 0)
    assert len({row["edit"] for row in rows}) == len(rows) == 6
    assert "after 10" in markdown_of(records(tiny, "sequence", 0))


def test_fewer_projections_cost_less(tiny: RealRun) -> None:
    rows = records(tiny, "costs", 0)
    operations = [row["operations"] for row in rows]
    assert 0 < operations[0] < operations[1] < operations[2]
    assert "operations, 10¹²" in markdown_of(rows)


def test_one_factorisation_serves_every_request_of_a_seed(tiny: RealRun) -> None:
    model, tokenizer = load_model(tiny.model), load_tokenizer(tiny.model)
    made = tasks(KNOWN, 1)
    cities = [made[name] for name in ("city", "country", "fifteen")]
    shared = Surgery(model, tokenizer, cities, ["A text that the model wrote."], 1)
    alone = Surgery(model, tokenizer, [made["country"]], ["A text that the model wrote."], 1)
    alone.checks = shared.checks
    one = FORMS["paper's μ"][-1]
    left, right = (some.workshop(made["country"]).edit(one) for some in (shared, alone))
    for site in left.sites():  # other batches, and a Σ_total near the cut: float32 sums differ
        assert float((left[site] - right[site]).norm()) <= 0.05 * float(right[site].norm())
    assert not {example.question for example in shared.checks} & {
        prompt for task in cities for fact in (*task.target, *task.unseen) for prompt in fact.prompts
    }


def test_wide_models_have_their_attention_edited_alone(tiny: RealRun, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tiny.sites("country", 0) == "all-linear"
    assert tiny.sites("country", 1) == ATTENTION_SITES
    monkeypatch.setattr(running, "WIDEST", 40)
    assert ATTENTION
    rows = records(replace(tiny), "country", 0)
    assert [row["edit"] for row in rows] == [BEFORE, *ATTENTION, RULE]
    rows = records(tiny, "city", 0)
    assert [row["edit"] for row in rows] == [BEFORE, *ATTENTION, *STRONGER, RULE]


def test_every_part_of_the_plan_has_a_seed_and_every_form_a_candidate() -> None:
    assert all(seeds for _, seeds in PLAN)
    assert all(FORMS.values())
    assert FORMS["μ²"][0].filter() == Power()
    assert "power" in str(FORMS["μ²"][0])
