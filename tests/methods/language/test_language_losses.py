"""Every loss of the gradient methods for language models against values worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import tiny_language
import torch
from helpers import randn

from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.metabolism.terms import kl_divergence
from mnemotomy.methods.language.losses import (
    activation_distance,
    negative_log_likelihood,
    preference_loss,
    simnpo_loss,
    undial_loss,
)
from mnemotomy.methods.language.predictions import Predictions, predict, sequence_log_probabilities
from mnemotomy.text.encoding import IGNORED, Encoded


def test_negative_log_likelihood_is_the_mean_over_tokens():
    assert float(negative_log_likelihood(torch.tensor([0.5, 0.25, 1.0]).log())) == pytest.approx(math.log(8) / 3)


def test_kl_divergence():
    reference, model = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    expected = (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)) / 2
    assert float(kl_divergence(model.log(), reference.log())) == pytest.approx(expected, abs=1e-6)


def test_preference_loss():
    # one margin of 0 and one of log 3 at β = 0.5: σ(0) = 1/2 and σ(0.5 log 3) = √3 / (1 + √3)
    expected = -4 * (math.log(1 / 2) + math.log(math.sqrt(3) / (1 + math.sqrt(3)))) / 2
    assert float(preference_loss(torch.tensor([0.0, math.log(3)]), 0.5)) == pytest.approx(expected, rel=1e-6)


def test_npo_is_ascent_for_a_small_beta():
    ratio = torch.tensor([-1.0, 2.0], requires_grad=True)  # log π / π_ref
    (gradient,) = torch.autograd.grad(preference_loss(-ratio, 1e-4), ratio)
    torch.testing.assert_close(gradient, torch.full((2,), 0.5), rtol=1e-3, atol=0)  # of the mean ratio


def test_simnpo_loss():
    # −log π / |y| is 2 and 1; δ = 1, β = 2: σ(2) and σ(0)
    found = simnpo_loss(torch.tensor([-4.0, -3.0]), torch.tensor([2.0, 3.0]), beta=2.0, delta=1.0)
    assert float(found) == pytest.approx((math.log1p(math.exp(-2)) + math.log(2)) / 2, rel=1e-6)


def test_undial_loss():
    # the teacher has log 1, log 2, log 4; with log 2 off its third logit it is (1, 2, 2) / 5
    reference, model = torch.tensor([[1.0, 2.0, 4.0]]).log(), torch.tensor([[0.5, 0.25, 0.25]]).log()
    expected = 0.2 * math.log(2) + 0.8 * math.log(4)
    found = undial_loss(model, reference, torch.tensor([2]), beta=math.log(2))
    assert float(found) == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(reference, torch.tensor([[1.0, 2.0, 4.0]]).log())  # left as it was


def test_activation_distance_divides_each_example_by_its_own_length():
    states = torch.tensor([[[1.0, 1.0], [3.0, 1.0]], [[2.0, 0.0], [9.0, 9.0]]])
    counted = torch.tensor([[True, True], [True, False]])
    # squared means: 1 and 5 in the first, 2 in the second
    assert float(activation_distance(states, torch.zeros(2), counted)) == pytest.approx((3.0 + 2.0) / 2)


def test_sums_and_lengths_of_examples():
    found = Predictions(torch.zeros(3, 4), torch.tensor([0, 1, 2]), torch.tensor([1, 0, 1]), 3)
    torch.testing.assert_close(found.log_probabilities(), torch.full((3,), -math.log(4)))
    assert found.summed(torch.tensor([1.0, 2.0, 4.0])).tolist() == [2.0, 5.0, 0.0]
    assert found.lengths().tolist() == [1.0, 2.0, 1.0]


@pytest.mark.parametrize("rows", [3, 20])
def test_predictions_are_those_of_each_example_alone(tmp_path: Path, rows: int):
    folder = tiny_language.save_llama(tmp_path, initializer_range=0.3)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    examples = []
    for number in range(rows):
        ids = (randn(4 + 3 * (number % 5), seed=number).abs() * 40).long().tolist()
        examples.append(Encoded([1, *ids], [IGNORED, IGNORED, *ids[1:-1], IGNORED]))
    found = predict(model, examples, tokenizer)
    sums = sequence_log_probabilities(model, examples, tokenizer)
    torch.testing.assert_close(found.summed(found.log_probabilities()), sums)
    for number, one in enumerate(examples):
        logits = model(input_ids=torch.tensor([one.input_ids])).logits[0, :-1].log_softmax(-1)
        labels = torch.tensor(one.labels[1:])
        own = logits[labels != IGNORED].gather(1, labels[labels != IGNORED][:, None]).sum()
        torch.testing.assert_close(sums[number], own, rtol=1e-4, atol=1e-4)
        assert found.lengths()[number] == len(labels) - 2
