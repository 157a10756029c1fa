"""Texts drawn from the nucleus."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from tiny_language import save_llama
from transformers import MistralConfig, MistralForCausalLM

from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.observe import generation, sampling, shared_rows
from mnemotomy.observe.generation import continue_tokens
from mnemotomy.observe.sampling import Sampling

PROMPTS = [[1, 7, 8], [1, 9], [1, 7, 8, 11, 12], [1, 30]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = save_llama(tmp_path_factory.mktemp("sampling"), initializer_range=0.5)
    return load_model(folder), load_tokenizer(folder)


def numbers(count: int) -> torch.Tensor:
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(0))


def test_shares_are_those_of_the_nucleus():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20000, 4)
    for top_p, expected in ((1.0, [0.5, 0.3, 0.15, 0.05]), (0.8, [0.625, 0.375, 0, 0]), (0.1, [1, 0, 0, 0])):
        chosen = Sampling(top_p=top_p).choose(logits, numbers(20000))
        shares = torch.bincount(chosen, minlength=4) / len(chosen)
        torch.testing.assert_close(shares, torch.tensor(expected, dtype=torch.float32), atol=0.015, rtol=0)
    cold = Sampling(temperature=0.01).choose(logits, numbers(20000))
    assert set(cold.tolist()) == {0}


def test_a_flat_distribution_over_a_large_vocabulary_is_sampled_whole():
    chosen = Sampling(top_p=0.95).choose(torch.zeros(500, 5000), numbers(500))
    assert len(set(chosen.tolist())) > 450


@pytest.mark.parametrize("top_p", [0.3, 0.95, 1.0])
def test_rows_of_every_shape_are_drawn_from_their_own_nucleus(top_p: float, monkeypatch: pytest.MonkeyPatch):
    """Peaked, wide and flat rows in one batch; several texts of each, in any order."""
    monkeypatch.setattr(sampling, "_LIKELIEST", 64)  # not enough for the flat ones
    generator, rows, each = torch.Generator().manual_seed(0), 20, 8000
    logits = torch.randn(rows, 300, generator=generator) * torch.linspace(0.0, 12.0, rows)[:, None]
    places = torch.arange(rows).repeat(each)[torch.randperm(rows * each, generator=generator)]
    chosen = Sampling(top_p=top_p).choose(logits, numbers(rows * each), places)
    chances, order = logits.softmax(-1).sort(dim=-1, descending=True)
    least = chances.gather(1, (chances.cumsum(-1) - chances < top_p).sum(-1, keepdim=True) - 1)
    nucleus = chances.where(chances >= least, 0.0)
    expected = torch.zeros_like(logits).scatter(1, order, nucleus / nucleus.sum(-1, keepdim=True))
    found = torch.zeros_like(logits).index_put((places, chosen), torch.ones(len(chosen)), accumulate=True) / each
    assert not found[expected == 0].any()
    distance = (found - expected).abs().sum(-1) / 2  # in total variation
    mean = (expected * (1 - expected) / each).sqrt().sum(-1) / 2  # at most, by Jensen
    assert (distance < mean + (6 / each) ** 0.5).all()  # by McDiarmid but for e^-12


def test_texts_depend_on_the_seed_and_the_prompt_but_not_on_batches(both: tuple[Any, Any]):
    how = Sampling(samples=3, top_p=0.9, seed=5)
    model, tokenizer = both
    one = continue_tokens(model, tokenizer, PROMPTS, 6, sampling=how, batch_size=64)
    assert one == continue_tokens(model, tokenizer, PROMPTS, 6, sampling=how, batch_size=1)
    assert one != continue_tokens(model, tokenizer, PROMPTS, 6, sampling=Sampling(3, top_p=0.9, seed=6))
    assert [len(texts) for texts in one] == [3] * 4
    assert len({text for texts in one for text in texts}) > 6


def test_texts_that_are_the_same_so_far_are_forwarded_once(both: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch):
    model, tokenizer = both
    how, length = Sampling(samples=24, temperature=0.5, top_p=0.9, seed=3), 7
    forwarded: list[int] = []
    following = shared_rows._next
    monkeypatch.setattr(shared_rows, "_next", lambda m, tokens, *more: (
        forwarded.append(len(tokens)), following(m, tokens, *more)
    )[1])  # fmt: skip
    found = continue_tokens(model, tokenizer, PROMPTS, length, sampling=how, batch_size=200)
    assert forwarded[0] == len(PROMPTS)
    assert sum(forwarded) < 0.8 * len(PROMPTS) * how.samples * length
    ends = generation.end_tokens(model, tokenizer)
    for place, prompt in enumerate(PROMPTS):
        for text, drawn in zip(found[place], how.numbers([place], length), strict=True):
            tokens = list(prompt)  # one text alone, read anew for each token
            for number in drawn:
                with torch.no_grad():
                    logits = model(input_ids=torch.tensor([tokens])).logits[:, -1].float()
                token = int(how.choose(logits, number[None]))
                if token in ends:
                    break
                tokens.append(token)
            assert text == tokenizer.decode(tokens[len(prompt) :], skip_special_tokens=True)


def test_an_almost_empty_nucleus_is_greedy(both: tuple[Any, Any]):
    model, tokenizer = both
    greedy = continue_tokens(model, tokenizer, PROMPTS, 8)
    drawn = continue_tokens(model, tokenizer, PROMPTS, 8, sampling=Sampling(2, top_p=1e-6))
    assert drawn == [texts * 2 for texts in greedy]


def test_models_with_other_caches_are_sampled_by_transformers(both: tuple[Any, Any]):
    torch.manual_seed(0)
    size = {"vocab_size": len(both[1]), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    model = MistralForCausalLM(MistralConfig(**size, num_attention_heads=4, num_key_value_heads=2, sliding_window=8))
    how = Sampling(samples=2, top_p=0.9, seed=1)
    drawn = continue_tokens(model, both[1], PROMPTS, 5, sampling=how)
    assert drawn == continue_tokens(model, both[1], PROMPTS, 5, sampling=how)
    assert [len(texts) for texts in drawn] == [2] * 4


def test_texts_of_a_prompt_have_the_models_distribution(both: tuple[Any, Any]):
    """Frequencies of two tokens in a row, against the probabilities of all pairs that the nucleus allows."""
    model, tokenizer = both
    how, ends = Sampling(samples=6000, temperature=0.7, top_p=0.8, seed=2), generation.end_tokens(model, tokenizer)
    ids = torch.tensor([PROMPTS[0]])
    expected: dict[tuple[int, ...], float] = {}
    with torch.no_grad():
        written = shared_rows.write(model, ids, torch.ones_like(ids), ends, 2, sampling=how, prompts=[0])
        for one, share in nucleus_of(model, PROMPTS[0], how, ends).items():
            further = nucleus_of(model, [*PROMPTS[0], *one], how, ends) if one else {(): 1.0}
            expected |= {(*one, *two): share * chance for two, chance in further.items()}
    counts = Counter(map(tuple, written))
    assert set(counts) <= set(expected)
    for text, share in expected.items():
        assert abs(counts[text] / how.samples - share) < 5 * (share / how.samples) ** 0.5 + 1e-3


def nucleus_of(model: Any, prompt: list[int], how: Sampling, ends: list[int]) -> dict[tuple[int, ...], float]:
    """The probability of each next token; of the end as of no token."""
    logits = model(input_ids=torch.tensor([prompt])).logits[0, -1].float()
    chances, tokens = (logits / how.temperature).softmax(-1).sort(descending=True)
    kept = chances[chances.cumsum(0) - chances < how.top_p]
    found: Counter[tuple[int, ...]] = Counter()
    for share, token in zip((kept / kept.sum()).tolist(), tokens.tolist(), strict=False):
        found[() if token in ends else (token,)] += share
    return found
