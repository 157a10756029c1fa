"""Estimates of memory and time, and the refusal of what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learned_cities import COUNTRIES, TEMPLATE, examples, problem, trained
from torch import nn

import mnemotomy as mt
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.curvature.ascent import SharedStart
from mnemotomy.engram.sites import select_sites
from mnemotomy.forget import cost
from mnemotomy.forget.candidates import FIRST
from mnemotomy.forget.cost import Cost, cost_of
from mnemotomy.forget.forgetting import tokens_to_write
from mnemotomy.methods.language.two_sided import TwoSided


def test_more_blocks_and_tokens_need_more() -> None:
    model, _ = trained()
    whole, part = cost_of(model, 20), cost_of(model, 20, layers=(0,))
    assert whole.moments > part.moments
    assert cost_of(model, 40).factors == pytest.approx(whole.factors * 32 / 20, rel=0.5)  # at most the width
    assert "about 1 minute and 0.0 GiB" in str(whole)


def test_of_many_examples_a_trial_asks_about_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time once grew with all of them: seven hours were named for a search of twelve minutes."""
    monkeypatch.setattr(cost, "pass_seconds", lambda *args, **more: 0.01)
    model, _ = trained()
    seconds = [
        cost_of(model, 60 * count, examples=count, two_sided=two).seconds
        for count in (48, 480)
        for two in (False, True)
    ]
    assert seconds[2] < 2.0 * seconds[0]
    assert seconds[1] > seconds[0]
    assert seconds[3] - seconds[2] > seconds[1] - seconds[0]


def test_the_two_sided_edit_needs_what_it_keeps_and_a_copy_of_the_model() -> None:
    model, _ = trained()
    start: Any = None

    class Kept(SharedStart):
        def of(self, *args: Any) -> Any:
            nonlocal start
            start = super().of(*args)
            return start

    TwoSided()(problem(), Kept())
    sides = {id(side): side for one in start.factors.sites.values() for side in (one.inputs, one.outputs)}.values()
    kept = sum(matrix.nbytes for side in sides for matrix in (side.moment, side.inverse(TwoSided.damping)))
    kept += sum(matrix.nbytes for matrix in start.first.gradients.values())
    copied = sum(one.nbytes for one in model.parameters())
    named = cost_of(model, 20, two_sided=True)
    assert named.needed == named.moments + named.factors + named.two_sided
    assert kept + copied <= named.two_sided <= 3 * (kept + copied)
    assert cost_of(model, 20).two_sided == 0.0


def test_a_short_search_decomposes_the_sites_of_its_candidates_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "pass_seconds", lambda *args, **more: 0.01)
    model, _ = trained()
    short, fixed, proposing = (cost_of(model, 20, trials=count) for count in (4, len(FIRST), len(FIRST) + 1))
    upper = [name for name, site in select_sites(model, "all-linear").items() if site.layer and "attn" in name]
    width = model.config.hidden_size
    assert short.factors == sum(4.0 * 20 * (2 * len(dict(model.named_modules())[one].weight) + width) for one in upper)
    assert fixed.factors == proposing.factors > 2 * short.factors
    assert short.moments == fixed.moments
    per_trial = proposing.seconds - fixed.seconds
    assert fixed.seconds - short.seconds > (len(FIRST) - 4) * per_trial


def test_a_short_search_need_not_reach_the_two_sided_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "pass_seconds", lambda *args, **more: 0.01)
    model, _ = trained()
    short, without = cost_of(model, 20, trials=4, two_sided=True), cost_of(model, 20, trials=4)
    assert (short.needed, short.seconds) == (without.needed, without.seconds)
    assert cost_of(model, 20, trials=5, two_sided=True).two_sided > 0.0


def test_texts_that_the_model_writes_take_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "pass_seconds", lambda *args, **more: 0.01)
    model, tokenizer = trained()
    options = mt.ForgetOptions(template=TEMPLATE)
    enough = examples(list(COUNTRIES)) * 20
    assert tokens_to_write(model, tokenizer, 10.0, enough, options) == 0.0
    few, none = (tokens_to_write(model, tokenizer, 10.0, retain, options) for retain in (enough[:1], []))
    assert none > few > 0.0
    assert cost_of(model, 20, written=round(none)).seconds > cost_of(model, 20).seconds


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = trained()
    monkeypatch.setattr(cost, "free_memory", lambda device: 10.0)
    with pytest.raises(ConfigurationError, match="--layers or --sites"):
        cost_of(model, 20).check()
    Cost(1.0, 1.0, None, 0.0).check()


def test_one_slow_pass_does_not_tell_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 1.0, 41.0, 41.0, 41.1])  # the second of two passes was held up
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    assert cost.pass_seconds(nn.Linear(2, 2), torch.zeros(1, 2)) == 1.0


def test_a_machine_that_is_busy_throughout_tells_a_slower_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = [0.3, 0.1, 0.2, 0.2, 0.2, 0.3]  # one was lucky
    clock = iter([moment for seconds in passes for moment in (0.0, seconds)])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    assert cost.pass_seconds(nn.Linear(2, 2), torch.zeros(1, 2)) == 0.2
