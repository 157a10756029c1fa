"""What language methods are given, and how it is counted: adapters, end tokens, texts with nothing to predict."""

from __future__ import annotations

import pytest
import torch
from tiny_language import tokenizer
from tiny_problem import example, llama, tiny_problem

from mnemotomy.core.errors import ConfigurationError, ModelError
from mnemotomy.metabolism.terms import kl_divergence
from mnemotomy.methods.language.losses import negative_log_likelihood, undial_loss
from mnemotomy.methods.language.npo import NPO
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.target_level import losses
from mnemotomy.text.batches import padded
from mnemotomy.text.encoding import encode
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import OPEN_UNLEARNING

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} {{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)


def test_an_adapter_is_to_be_merged_first():
    peft = pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    whole = tiny_problem()
    model = peft.get_peft_model(llama(0), peft.LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(ModelError, match="merge it first"):
        TextProblem(model, whole.tokenizer, whole.forget, whole.retain)
    TextProblem(model.merge_and_unload(), whole.tokenizer, whole.forget, whole.retain)


def test_the_problems_own_model_is_not_trained():
    problem = tiny_problem()
    with pytest.raises(ConfigurationError, match="give a copy"):
        NPO(epochs=1).train(problem, problem.model)


def test_text_after_the_end_token_is_not_part_of_the_answer():
    words = tokenizer(CHATML)
    words.eos_token = "<|im_end|>"
    answer = "Kyoto is in Japan ."
    found = encode(example("Where is Kyoto?", answer), words, OPEN_UNLEARNING)
    content = [label for label in found.marked("answer") if label >= 0]
    assert words.decode(content).strip() == answer


def test_the_first_token_is_not_counted_as_predicted():
    problem = tiny_problem()
    words = problem.tokenizer
    words.backend_tokenizer.post_processor = None  # nothing before the text
    try:
        row = encode(TextExample.of_text("Kyoto is in Japan", "here"), words, OPEN_UNLEARNING)
        assert row.labels[0] >= 0
        expected = problem.model(**padded([row], words)).loss
        torch.testing.assert_close(losses(problem.model, [row], problem)[0], expected)
    finally:
        words.backend_tokenizer.post_processor = tokenizer(None).backend_tokenizer.post_processor


def test_a_text_of_one_token_weighs_nothing():
    logits, none = torch.zeros(0, 5, requires_grad=True), torch.zeros(0, dtype=torch.long)
    for loss in (
        negative_log_likelihood(logits[:, 0]), kl_divergence(logits, logits.detach()),
        undial_loss(logits, logits.detach(), none, 1.0),
    ):  # fmt: skip
        loss.backward(retain_graph=True)
        assert float(loss) == 0.0
