"""Regular expressions, templates and counts of others end, one way or the other."""

from __future__ import annotations

import threading
import time

import pytest
from helpers import tiny_llama
from tiny_language import tokenizer

from mnemotomy.core.bounded import TimeLimitError, check_count, full_matches, time_limit
from mnemotomy.core.errors import ConfigurationError, DataError, SelectionError
from mnemotomy.engram.sites import select_sites
from mnemotomy.text import template as templates
from mnemotomy.text.records import Turn
from mnemotomy.text.template import Template
from mnemotomy.training.adapter import LoRA, with_adapter


def test_a_regular_expression_that_backtracks_is_refused():
    start = time.perf_counter()
    with pytest.raises(SelectionError, match="takes too long"):
        full_matches(r"(a|aa)+$b", ["a" * 60] * 5)
    assert time.perf_counter() - start < 20
    assert full_matches(r".*\.(q|k)_proj", ["a.q_proj", "a.k_proj.x", "k_proj"]) == ["a.q_proj"]
    with pytest.raises(SelectionError, match="not a valid regular expression"):
        select_sites(tiny_llama(), "(")


def test_an_adapter_has_no_larger_rank_than_the_weights():
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    with pytest.raises(ConfigurationError, match="rank is at most 16"):
        with_adapter(tiny_llama(), LoRA(rank=10**12))
    adapted = with_adapter(tiny_llama(), LoRA(rank=2, target_modules=r"model\.layers\.1\..*q_proj"))
    found = [name for name, _ in adapted.named_parameters() if "lora_A" in name]
    assert len(found) == 1
    assert "layers.1.self_attn.q_proj" in found[0]


def test_a_time_limit_stops_a_loop_in_any_thread():
    def loop() -> None:
        with time_limit(0.1):
            while True:
                pass

    with pytest.raises(TimeLimitError):
        loop()
    found = []

    def caught() -> None:
        try:
            loop()
        except TimeLimitError as error:
            found.append(error)

    thread = threading.Thread(target=caught)
    thread.start()
    thread.join(30)
    assert len(found) == 1
    with time_limit(30):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}", "takes more than"),
        ("{{ 10 ** 10 ** 10 }}", r"computes powers"),
        ("{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}", "writes 99999000 characters"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ messages[9].content }}", "no element 9"),
    ],
)
def test_a_chat_template_ends(text: str, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(templates, "_SECONDS", 0.5)
    with pytest.raises(DataError, match=message):
        Template().fill(tokenizer(text), [Turn("user", "Where?")])


def test_counts_have_bounds():
    check_count("epochs", 1)
    for value in (0, -3, 10**400):
        with pytest.raises(ConfigurationError, match="epochs is at"):
            check_count("epochs", value)
