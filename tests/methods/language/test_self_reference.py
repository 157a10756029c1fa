"""The reference that a model writes itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import same_state, state_of
from tiny_language import tokenizer
from tiny_problem import llama, tiny_problem

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.methods.language import self_reference
from mnemotomy.methods.language.engram import EngramUniform
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.self_reference import SelfReference, self_reference_of, write_reference
from mnemotomy.observe.writings import Writings


@pytest.fixture
def problem() -> TextProblem:
    return tiny_problem()


def test_the_model_writes_its_own_reference(problem: TextProblem) -> None:
    how = SelfReference(5, max_new_tokens=6, batch_size=3, seed=1)
    problem = replace(problem, model=llama(0, max_position_embeddings=2048))
    before, state = state_of(problem.model), torch.get_rng_state()
    found = write_reference(problem.model, problem.tokenizer, how)
    assert found == write_reference(problem.model, problem.tokenizer, how)
    assert found != write_reference(problem.model, problem.tokenizer, replace(how, seed=2))
    assert same_state(problem.model, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert [one.form for one in found] == ["question"] * 5
    assert all(turn.content for one in found for turn in one.turns)
    EngramUniform()(replace(problem, retain=found))
    answers = write_reference(problem.model, problem.tokenizer, replace(how, opening="answer"))
    assert [one.turns[0].content for one in answers] == [""] * 5
    texts = write_reference(problem.model, tokenizer(template=None), how)
    assert [one.form for one in texts] == ["text"] * 5


def test_a_stopped_reference_goes_on_and_is_that_of_a_whole_run(
    problem: TextProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = SelfReference(8, max_new_tokens=6, batch_size=3, seed=1)
    model = llama(0, max_position_embeddings=2048)
    whole = write_reference(model, problem.tokenizer, how)
    writings, batches, write = Writings(tmp_path), [], self_reference._write

    def counted(*arguments: Any) -> Any:
        batches.append(arguments)
        if len(batches) == 2:
            raise KeyboardInterrupt
        return write(*arguments)

    monkeypatch.setattr(self_reference, "_write", counted)
    with pytest.raises(KeyboardInterrupt):
        write_reference(model, problem.tokenizer, how, writings=writings)
    assert writings.any
    assert write_reference(model, problem.tokenizer, how, writings=Writings(tmp_path)) == whole
    stopped = len(batches)
    assert write_reference(model, problem.tokenizer, how, writings=Writings(tmp_path)) == whole
    assert len(batches) == stopped  # nothing is written twice


def test_self_reference_of() -> None:
    assert self_reference_of("self:20") == SelfReference(20)
    assert self_reference_of("self") == SelfReference()
    assert self_reference_of("selfish.jsonl") is None
    for wrong in ("self:", "self:0", "self:many"):
        with pytest.raises(ConfigurationError, match="self:2000"):
            self_reference_of(wrong)
