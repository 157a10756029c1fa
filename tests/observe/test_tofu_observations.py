"""Answers in one forward pass, against each answer forwarded alone; files; greedy answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import same_state, state_of, tiny_llama
from safetensors.torch import save_file
from tiny_language import tokenizer as tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from mnemotomy.core.errors import ArtifactError, DataError, NonFiniteError
from mnemotomy.observe import answer_logits, splits
from mnemotomy.observe.answers import AnswerObservations, answer_greedily, observe_answers
from mnemotomy.observe.questions import (
    Asking,
    Observed,
    QuestionObservations,
    load_questions,
    observe_questions,
    save_questions,
)
from mnemotomy.text.encoding import encode_answer
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import Template, prompt_of

CHAT = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}{{ date_string if m['role'] == 'system' }}\n"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BLOCK = "<think>\n\n</think>\n\n"
HYBRID = CHAT.replace(
    "\n{{ m['content'] }}",
    "\n{{ '" + BLOCK.replace("\n", "\\n") + "' if m['role'] == 'assistant' }}{{ m['content'] }} .",
)
"""Writes an empty reasoning block before a finished answer, and a full stop between it and the end token."""

PLAIN = Template(system=None)
QUESTIONS = ["In which country is Kyoto?", "Paris lies in ?", "Rome lies in ?", "Rome lies in ?", "the capital of ?"]
ANSWERS = ["Japan", "France .", "Italy .", "the country of Italy .", "Paris Rome Kyoto"]


@pytest.fixture(scope="module", params=[CHAT, HYBRID, None], ids=["chat", "hybrid", "tags"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return tiny_tokenizer(request.param)


@pytest.fixture
def model(tokenizer: Any) -> Any:
    return tiny_llama(vocab_size=len(tokenizer), max_position_embeddings=256, eos_token_id=2, pad_token_id=0)


def alone(model: Any, tokenizer: Any, question: str, answer: str) -> tuple[list[int], torch.Tensor]:
    """The labels and the log-probabilities over the vocabulary at them, from the definitions alone."""
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        options = {"tokenize": True, "return_dict": False}
        ids = tokenizer.apply_chat_template(turns, **options)
        prompt = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, **options)
        block = tokenizer(BLOCK, add_special_tokens=False)["input_ids"] if BLOCK[:7] in tokenizer.chat_template else []
        assert ids[: len(prompt) + len(block)] == prompt + block
        start, end = len(prompt + block), tokenizer.convert_tokens_to_ids("<|im_end|>")
        stop = start + len(tokenizer(answer, add_special_tokens=False)["input_ids"])
        wanted = [*range(start, stop), ids.index(end, start)]
    else:
        ids = tokenizer(f"Question: {question}\nAnswer: {answer}")["input_ids"]
        wanted = list(range(len(tokenizer(f"Question: {question}\nAnswer: ")["input_ids"]) - 1, len(ids)))
    with torch.no_grad():
        logs = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return [ids[place] for place in wanted], logs[[place - 1 for place in wanted]]


def test_each_answer_shows_what_it_shows_alone(model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answer_logits, "CHUNK", 3)  # cuts through answers
    before = state_of(model)
    model.train()
    found = observe_answers(model, tokenizer, QUESTIONS, ANSWERS, template=PLAIN, batch_size=2)
    assert model.training
    assert same_state(model, before)
    model.eval()
    columns = (found.tokens, found.log_probability, found.hit, found.mean, found.deviation)
    rows = zip(*(found.rows(column, end=True) for column in columns), strict=True)
    for index, (tokens, own, hit, mean, deviation) in enumerate(rows):
        labels, logs = alone(model, tokenizer, QUESTIONS[index], ANSWERS[index])
        assert tokens.tolist() == labels
        assert tokenizer.decode(labels[-1]) == ("<|im_end|>" if tokenizer.chat_template else "<eos>")
        torch.testing.assert_close(own.double(), logs[range(len(labels)), labels], atol=1e-5, rtol=1e-5)
        assert hit.tolist() == [int(row.argmax()) == label for row, label in zip(logs, labels, strict=True)]
        expected = (logs.exp() * logs).sum(-1)
        torch.testing.assert_close(mean.double(), expected, atol=1e-5, rtol=1e-5)
        variance = (logs.exp() * logs.square()).sum(-1) - expected.square()
        torch.testing.assert_close(deviation.double(), variance.sqrt(), atol=1e-4, rtol=1e-4)
        assert found.texts[index].strip() == ANSWERS[index]
    assert [len(row) for row in found.rows(found.hit, end=False)] == (found.lengths - 1).tolist()


def test_the_batch_changes_nothing(model: Any, tokenizer: Any):
    whole = observe_answers(model, tokenizer, QUESTIONS, ANSWERS)
    single = observe_answers(model, tokenizer, QUESTIONS, ANSWERS, batch_size=1)
    torch.testing.assert_close(whole.log_probability, single.log_probability, atol=1e-5, rtol=1e-5)
    part = whole.select(1, 3)
    assert len(part) == 2
    assert part.texts == whole.texts[1:3]
    assert torch.equal(torch.cat(whole.rows(whole.mean, end=True)[1:3]), part.mean)


@pytest.mark.parametrize("batches", [1, 8])
def test_a_shared_prompt_changes_nothing(model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, batches: int):
    monkeypatch.setattr(answer_logits, "_BATCHES", batches)  # prompts in several groups, and all in one
    pairs = [(question, answer) for question in QUESTIONS for answer in ANSWERS]
    encoded = [encode_answer(tokenizer, *pair, PLAIN) for pair in pairs]
    assert answer_logits.shares_prompts(model, encoded)
    assert not answer_logits.shares_prompts(model, encoded[:1])
    model.eval()
    with torch.no_grad():
        apart = answer_logits.read_one_by_one(model, encoded, 4)
        together = answer_logits.read_sharing_prompts(model, encoded, 4)
    for left, right in zip(apart, together, strict=True):
        torch.testing.assert_close(left, right, atol=2e-4, rtol=1e-5)
    assert [row.shape[1] for row in together] == [len(one.answer) for one in encoded]


def test_models_that_return_all_logits(model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch):
    expected = observe_answers(model, tokenizer, QUESTIONS, ANSWERS)
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda input_ids, use_cache: forward(input_ids=input_ids, use_cache=use_cache)
    )
    found = observe_answers(model, tokenizer, QUESTIONS, ANSWERS)
    torch.testing.assert_close(found.log_probability, expected.log_probability, atol=1e-6, rtol=1e-6)


def test_template():
    chat, tags = tiny_tokenizer(CHAT), tiny_tokenizer(None)
    text = prompt_of(chat, "Who?", Template(system="Be kind.", date="10 Apr 2025"))
    assert text == (
        "<bos><|im_start|>system10 Apr 2025\nBe kind.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert (
        prompt_of(tags, "Who?", Template(before_question="Q ", after_question=" A", before_answer=" ")) == "Q Who? A "
    )
    found = observe_answers(tiny_llama(vocab_size=len(tags)), tags, ["Who?"], ["Japan"])
    assert found.origin["template"] == "tags"
    assert found.origin["dtype"] == "float32"
    assert found.origin["prompt"] == "Question: ...\nAnswer: "


def test_a_token_across_the_border_belongs_to_the_answer():
    alphabet = ["<pad>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġa"]
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, [("Ġ", "a")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    merging = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")
    encoded = encode_answer(merging, "Who?", "ab", PLAIN)
    assert merging.convert_ids_to_tokens(encoded.answer) == ["Ġa", "b", "<eos>"]
    with pytest.raises(DataError, match="no token precedes the answer"):
        encode_answer(merging, "", "ab", Template(before_question="", after_question="", before_answer=" "))


def test_bad_input(model: Any, tokenizer: Any):
    with pytest.raises(DataError, match="2 questions came with 1 answers"):
        observe_answers(model, tokenizer, ["a", "b"], ["c"])
    with pytest.raises(DataError, match="0 questions came with 0 answers"):
        observe_answers(model, tokenizer, [], [])
    with pytest.raises(DataError, match="has no tokens"):
        observe_answers(model, tokenizer, ["Who?"], [" \n"])
    endless = tiny_tokenizer(None)
    endless.eos_token = None
    endless.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    with pytest.raises(DataError, match="no end token"):
        encode_answer(endless, "Who?", "Japan", PLAIN)
    strict = tiny_tokenizer("{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}")
    with pytest.raises(DataError, match=r"Template\(system=None\)"):
        observe_answers(model, strict, ["Who?"], ["Japan"])
    dropping = tiny_tokenizer("<bos>{{ messages[0]['content'] }}<eos>")
    with pytest.raises(DataError, match="drops or rewrites what the assistant says"):
        observe_answers(model, dropping, ["Who?"], ["Japan"], template=PLAIN)
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="NaN"):
        observe_answers(model, tokenizer, ["Who?"], ["Japan"])


def test_results_of_templates_with_text_of_their_own_are_not_reused(model: Any):
    """It was scored as part of the answer once."""
    made = {name: tiny_tokenizer(text) for name, text in (("chat", CHAT), ("hybrid", HYBRID), ("tags", None))}
    made["plain"] = tiny_tokenizer(CHAT.replace("<|im_end|>\n{% endfor", "<eos>{% endfor"))
    keys = {name: splits.asked(Observed(model, one), Asking()) for name, one in made.items()}
    assert keys["plain"] == keys["tags"]
    assert keys["plain"] != keys["chat"] != keys["hybrid"] != keys["plain"]


def test_greedy_answers(model: Any, tokenizer: Any):
    written = answer_greedily(model, tokenizer, QUESTIONS[:3], template=PLAIN, max_new_tokens=4)
    for question, text in zip(QUESTIONS[:3], written, strict=True):
        prompt = tokenizer(prompt_of(tokenizer, question, PLAIN), add_special_tokens=False)["input_ids"]
        ids = prompt if tokenizer.chat_template else [tokenizer.bos_token_id, *prompt]
        start = len(ids)
        for _ in range(4):
            with torch.no_grad():
                ids = [*ids, int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())]
            if ids[-1] == tokenizer.eos_token_id:
                break
        assert text == tokenizer.decode(ids[start:], skip_special_tokens=True).strip()


@pytest.fixture
def split() -> list[TextExample]:
    pairs = zip(QUESTIONS, ANSWERS, strict=True)
    return [
        TextExample.of_question(
            q, a, f"line {i}", paraphrased_answer=f"It is {a}", perturbed_answers=("Rome .", f"{a} {a}")
        )
        for i, (q, a) in enumerate(pairs)
    ]


def test_a_split_at_once(model: Any, tokenizer: Any, split: list[TextExample], tmp_path: Path):
    found = observe_questions(Observed(model, tokenizer), split, Asking(max_new_tokens=3))
    assert len(found) == 5
    twice = [question for question in QUESTIONS for _ in range(2)]
    false = [text for answer in ANSWERS for text in ("Rome .", f"{answer} {answer}")]
    for part, asked, answers in (
        (found.answer, QUESTIONS, ANSWERS),
        (found.paraphrased, QUESTIONS, [f"It is {answer}" for answer in ANSWERS]),
        (found.perturbed, twice, false),
    ):
        expected = observe_answers(model, tokenizer, asked, answers)
        assert torch.equal(part.tokens, expected.tokens)
        assert part.texts == expected.texts
        torch.testing.assert_close(part.log_probability, expected.log_probability, atol=1e-5, rtol=1e-5)
    assert found.generated == answer_greedily(model, tokenizer, QUESTIONS, max_new_tokens=3)
    bare = observe_questions(
        Observed(model, tokenizer), [TextExample.of_question("Who?", "Rome")], Asking(max_new_tokens=0)
    )
    assert (bare.paraphrased, bare.perturbed, bare.generated) == (None, None, None)
    with pytest.raises(DataError, match="no questions"):
        observe_questions(Observed(model, tokenizer), [])
    for number, observed in enumerate((found, bare)):
        path = tmp_path / f"{number}.safetensors"
        save_questions(observed, path)
        assert_same(load_questions(path), observed)


def assert_same(left: QuestionObservations, right: QuestionObservations):
    assert left.questions == right.questions
    assert left.generated == right.generated
    for name in ("answer", "paraphrased", "perturbed"):
        one, other = getattr(left, name), getattr(right, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.texts == other.texts
            assert one.origin == other.origin
            for key in ("tokens", "log_probability", "hit", "mean", "deviation", "lengths"):
                assert torch.equal(getattr(one, key), getattr(other, key))
                assert getattr(one, key).dtype == getattr(other, key).dtype


def test_files_that_are_none(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(ArtifactError, match="does not exist"):
        load_questions(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="damaged"):
        load_questions(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ArtifactError, match="is not a file of observed answers"):
        load_questions(path)
    header = {"format": "mnemotomy-answers", "header": json.dumps({"parts": {}})}
    save_file({"a": torch.zeros(1)}, path, metadata={**header, "version": "2"})
    with pytest.raises(ArtifactError, match="version 2"):
        load_questions(path)
    save_file({"a": torch.zeros(1)}, path, metadata={**header, "version": "1"})
    with pytest.raises(ArtifactError, match="damaged"):
        load_questions(path)
    part = AnswerObservations(*(torch.zeros(2) for _ in range(5)), lengths=torch.tensor([2]), texts=("a",))
    good = QuestionObservations((TextExample.of_question("a", "b"),), part)
    save_questions(good, path)
    assert_same(load_questions(path), good)
    save_questions(replace(good, answer=replace(part, lengths=torch.tensor([3]))), path)
    with pytest.raises(ArtifactError, match="do not add up"):
        load_questions(path)


def test_a_fingerprint_tells_configurations_apart(model: Any, tokenizer: Any):
    before = Observed(model, tokenizer).fingerprint
    assert Observed(model, tokenizer).fingerprint == before
    changed = set()
    model.generation_config.eos_token_id = [2, 4]
    changed.add(Observed(model, tokenizer).fingerprint)
    model.config.rms_norm_eps = 1e-3
    changed.add(Observed(model, tokenizer).fingerprint)
    model.config._name_or_path = "elsewhere"
    changed.add(Observed(model, tokenizer).fingerprint)
    assert len(changed) == 2
    assert before not in changed


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"perturbed_answers": ("a",)}, {"perturbed_answers": ("b", "c")}, "question 2: 2 perturbed answers, but"),
        ({"paraphrased_answer": "a"}, {}, "question 2 and question 1: only one has a paraphrased answer"),
    ],
)
def test_questions_of_one_split_are_alike(model: Any, tokenizer: Any, first: Any, second: Any, message: str):
    questions = [TextExample.of_question("Who ?", "he", **others) for others in (first, second)]
    with pytest.raises(DataError, match=message):
        observe_questions(Observed(model, tokenizer), questions)
