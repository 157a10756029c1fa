"""The reader: what it looks up, the model's prompt, and the answer; prompt formats in a model's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tiny_language import save_llama, tokenizer
from torch import nn

import mnemotomy as mt
from mnemotomy.core.errors import DataError, ModelError
from mnemotomy.data.fact import Fact, PromptFormat
from mnemotomy.data.fact_file import read_format
from mnemotomy.observe.generation import continue_greedily
from mnemotomy.store.fact_store import FactStore
from mnemotomy.store.reader import UNKNOWN, Reader, answer_alone
from mnemotomy.text.template import Template

FACTS = [
    Fact("Kyoto", "Japan", contexts=("Kyoto lies in Japan .",)),
    Fact("Paris", "France", contexts=("Paris lies in France .",)),
    Fact("Rome", "Italy", relation="country"),
]


class Quoting(nn.Module):
    """Repeats the word at a fixed place of its prompt, then ends; counts its runs."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place, self.runs, self.seen = place, 0, torch.empty(0)
        self.weight = nn.Parameter(torch.zeros(1))

    def generate(self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, **options: Any) -> torch.Tensor:
        assert options["generation_config"].do_sample is False
        assert not self.training
        assert not torch.is_grad_enabled()
        self.runs, self.seen = self.runs + 1, input_ids
        first = (attention_mask == 0).sum(1)
        said = input_ids[torch.arange(len(input_ids)), first + self.place]
        ended = torch.tensor([[2, 0, 0]]).expand(len(input_ids), -1)
        return torch.cat([input_ids, said[:, None], ended], 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FactStore]:
    with FactStore(tmp_path / "facts.db") as opened:
        opened.add(FACTS)
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("reader") / "llama")


PLACE = 6  # <bos> Kyoto · lies in · Japan
FORMAT = PromptFormat("{context} {prompt}")


def test_a_question_is_answered_from_the_store(store: FactStore) -> None:
    model = Quoting(PLACE).train()
    reader = Reader(model, tokenizer(None), store, format=FORMAT)
    answer = reader.ask("In which country is Kyoto ?")
    assert (answer.text, answer.known) == ("Japan", True)
    assert answer.prompt == "Kyoto lies in Japan . In which country is Kyoto ?"
    assert [hit.fact for hit in answer.hits] == FACTS[:1]
    assert answer.hits[0].relevance >= reader.threshold > 0
    assert model.training


def test_without_a_relevant_fact_the_model_is_not_run(store: FactStore) -> None:
    model = Quoting(PLACE)
    reader = Reader(model, tokenizer(None), store)
    answer = reader.ask("In which country is Atlantis ?")
    assert (answer.text, answer.known, answer.hits, answer.prompt) == (UNKNOWN, False, (), "")
    assert answer.nearest is not None
    assert answer.nearest.relevance < answer.threshold == reader.threshold
    assert model.runs == 0
    assert reader.ask("Zanzibar ?").nearest is None  # no fact has the word
    for fact in FACTS:
        store.delete(fact.subject)
    assert not reader.ask("In which country is Kyoto ?").known
    with pytest.raises(DataError, match="the query is empty"):
        reader.ask(" ")


def test_an_answer_that_the_limit_ended_says_so(store: FactStore) -> None:
    reader = Reader(Quoting(PLACE), tokenizer(None), store, format=FORMAT)
    assert not reader.ask("Kyoto ?").cut

    class Unending(Quoting):
        def generate(self, *, input_ids: torch.Tensor, **options: Any) -> torch.Tensor:
            return super().generate(input_ids=input_ids, **options)[:, : input_ids.shape[1] + 1]

    assert Reader(Unending(PLACE), tokenizer(None), store, format=FORMAT, max_new_tokens=1).ask("Kyoto ?").cut


def test_many_questions_are_one_batch(store: FactStore) -> None:
    model = Quoting(PLACE)
    questions = ["Kyoto lies in", "Where is Atlantis ?", "In which country is Paris ?"]
    answers = Reader(model, tokenizer(None), store, format=FORMAT).ask_many(questions)
    assert [answer.text for answer in answers] == ["Japan", UNKNOWN, "France"]
    assert model.runs == 1
    assert model.seen[0, 0] == 0  # padded on the left
    assert answers == [Reader(model, tokenizer(None), store, format=FORMAT).ask(question) for question in questions]
    assert Reader(model, tokenizer(None), store).ask_many([]) == []


def test_a_threshold_and_a_number_of_facts_can_be_given(store: FactStore) -> None:
    reader = Reader(Quoting(PLACE), tokenizer(None), store, facts_per_question=2, threshold=0.0)
    answer = reader.ask("Paris or Rome in a country ?")
    assert {hit.fact.subject for hit in answer.hits} == {"Paris", "Rome"}
    assert "Rome, country: Italy" in answer.prompt
    assert "Paris lies in France ." in answer.prompt
    assert not Reader(Quoting(PLACE), tokenizer(None), store, threshold=1.1).ask("Kyoto").known
    assert store.note("threshold") is None


def test_a_changed_store_changes_the_answer(store: FactStore) -> None:
    reader = Reader(Quoting(PLACE), tokenizer(None), store, format=FORMAT)
    store.update(Fact("Kyoto", "Italy"))
    assert reader.ask("Kyoto ?").text == "Italy"
    store.delete("Kyoto")
    assert reader.ask("Kyoto ?").text == UNKNOWN


def test_the_separator_ends_the_prompt(store: FactStore) -> None:
    format = PromptFormat("{context}\n{prompt}", separator="\nAnswer: ")
    reader = Reader(Quoting(0), tokenizer(None), store, format=format)
    assert reader.ask("Kyoto ?").prompt == "Kyoto lies in Japan .\nKyoto ?\nAnswer:"


def test_recall_asks_without_the_store(store: FactStore) -> None:
    model = Quoting(1)
    reader = Reader(model, tokenizer(None), store)
    assert reader.recall("Rome is") == "Rome"
    assert reader.recall_many(["Rome is", "Paris lies in"]) == ["Rome", "Paris"]
    assert tokenizer(None).decode(model.seen[0]).replace("<pad>", "") == "<bos>Rome is"


def test_chat_uses_the_template(store: FactStore) -> None:
    template = (
        "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    model = Quoting(0)
    answer = Reader(model, tokenizer(template), store, format=FORMAT, chat=True).ask("Kyoto ?")
    asked = Template().asked("Kyoto lies in Japan . Kyoto ?")  # with the system message that chat and forget have
    assert answer.prompt == Template().fill(tokenizer(template), asked, prompt=True)
    assert answer.prompt.endswith("<|im_start|>user\nKyoto lies in Japan . Kyoto ?<|im_end|>\n<|im_start|>assistant\n")
    assert model.seen[0].tolist().count(1) == 1
    with pytest.raises(ModelError, match="has no chat template; ask without chat"):
        Reader(model, tokenizer(None), store, chat=True)


def test_bad_numbers_and_models(store: FactStore) -> None:
    with pytest.raises(DataError, match="at least 1"):
        Reader(Quoting(0), tokenizer(None), store, facts_per_question=0)
    with pytest.raises(ModelError, match="Linear cannot generate"):
        Reader(nn.Linear(1, 1), tokenizer(None), store).recall("Kyoto")


def test_a_batch_answers_like_each_prompt_alone(folder: Path) -> None:
    model, words = mt.load_model(folder), mt.load_tokenizer(folder)
    cast(Any, model).generation_config.update(do_sample=True, temperature=9.0, repetition_penalty=5.0)
    prompts = ["Kyoto lies in", "In which country is Paris ?", "", "x"]
    together = continue_greedily(model, words, prompts, 6, batch_size=3)
    assert together == [continue_greedily(model, words, [prompt], 6)[0] for prompt in prompts]
    ids = torch.tensor([words("Kyoto lies in")["input_ids"][:-1]])  # without the <eos> that this tokenizer adds
    asked = ids.shape[1]
    for _ in range(6):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
        if ids[0, -1] == words.eos_token_id:
            break
    assert together[0] == words.decode(ids[0, asked:], skip_special_tokens=True).strip()


# -- the format in a model's folder --------------------------------------------------------------------------------


def test_a_format_is_kept_with_the_model(tmp_path: Path) -> None:
    assert read_format(tmp_path) is None
    assert read_format(tmp_path / "none") is None
    format = PromptFormat("Texte : {context}\n{prompt}", "\n")
    (tmp_path / "prompt_format.json").write_text(json.dumps(asdict(format)))
    assert read_format(tmp_path) == format
    (tmp_path / "prompt_format.json").write_text('{"separator": ""}')
    assert read_format(tmp_path) == PromptFormat(separator="")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must be an object with only the texts 'in_context' and 'separator'"),
        ('{"separator": 1}', "must be an object"),
        ('{"seperator": " "}', "must be an object"),
        ('{"in_context": "{prompt} {context}"}', r"prompt_format\.json: the template .* needs \{context\}"),
    ],
)
def test_a_bad_format_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "prompt_format.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_format(tmp_path)


def test_one_question_is_not_a_list_of_letters(store: FactStore) -> None:
    reader = Reader(Quoting(PLACE), tokenizer(None), store, format=FORMAT)
    for ask in (reader.ask_many, reader.recall_many):
        with pytest.raises(DataError, match="questions must be a list of texts"):
            ask("In which country is Kyoto ?")


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("Japan\nC: Japan's\nD:", "Japan"),
        ("B: Japan \r\nC: Japan's", "B: Japan"),
        ("\n\nJapan . Kyoto is", "Japan ."),
        ("It lies in Japan. The city", "It lies in Japan."),
        ('"Japan." Kyoto', '"Japan."'),
        ("St. Petersburg, in the U. S. Virgin Islands", "St. Petersburg, in the U. S. Virgin Islands"),
        ("3.5 km. north", "3.5 km. north"),
        ("東京です。日本の", "東京です。"),
        ("Japan", "Japan"),
        ("", ""),
    ],
)
def test_a_base_models_answer_ends_with_its_line_or_sentence(written: str, answer: str) -> None:
    assert answer_alone(written) == answer
