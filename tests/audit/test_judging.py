"""Whether a text says an answer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mnemotomy.audit.judging import exchanged, said, subject_of, telling, telling_tokens

LONG = "The author's full name is Jaime Vasquez, born in Bogotá, and he writes true crime set among dockers."


@pytest.mark.parametrize(
    ("answer", "written", "question", "expected"),
    [
        ("Paris", "The capital of France is Paris.", "", 1.0),
        ("Paris", "Comparison", "", 0.0),
        ("the Seine", "It lies on the river Seine", "", 1.0),
        ("Kyoto lies in Japan .", "Japan", "In which country is Kyoto?", 1.0),
        ("Kyoto lies in Japan .", "Kyoto lies in France .", "In which country is Kyoto?", 0.0),
        ("Bogotá", "BOGOTA!", "", 1.0),
        ("Jaime Vasquez", "Vasquez, Jaime", "", 0.0),
        ("yes", "No.", "", 0.0),
        ("It is in it.", "It is in it.", "", 1.0),
        ("東京", "日本の首都は東京です", "", 1.0),
        ("ญี่ปุ่น", "เกียวโตอยู่ในประเทศญี่ปุ่น", "", 1.0),  # vowel signs are not letters
        ("ญี่ปุ่น", "เกียวโตอยู่ในประเทศจีน", "", 0.0),
        ("ဂျပန်", "ကျိုတိုသည် ဂျပန်နိုင်ငံတွင်ရှိသည်", "", 1.0),
        ("ជប៉ុន", "ទីក្រុងក្យូតូស្ថិតនៅប្រទេសជប៉ុន", "", 1.0),
        ("일본", "교토는 일본에 있다", "", 1.0),
        ("जापान", "क्योटो जापान में है", "", 1.0),
        ("पान", "क्योटो जापान में है", "", 0.0),
        ("می‌رود", "او میرود", "", 1.0),
        ("Paris", "", "", 0.0),
    ],
)
def test_short_answers_are_said_in_full_or_not(answer: str, written: str, question: str, expected: float):
    assert said(answer, written, question) == expected


def test_of_long_answers_only_rare_words_count():
    question = "What is the full name of the author?"
    assert said(LONG, LONG, question) == 1.0
    assert said(LONG, "The author's full name is John Smith, and he writes.", question) < 0.25
    half = said(LONG, "Jaime Vasquez was born in Bogota.", question)
    assert 0.25 < half < 0.6


def test_telling_words_are_neither_common_nor_in_the_question():
    assert telling("Kyoto is a city in Japan.", "What is Kyoto?") == ["city", "japan"]
    assert telling("That is it.") == ["that", "is", "it"]
    assert telling("Yes, it lies in Japan.", "Does it lie in Asia?") == ["japan"]  # the form of the question says yes
    assert telling("Yes, it is.", "Is it?") == ["yes"]
    assert said("No, it is not in Asia.", "Yes, it is in Asia.", "Is it in Asia?") == 0.0


def test_telling_words_are_found_among_the_tokens():
    tokens = ["Yes", ",", " it", " lies", " in", " Ja", "pan", ",", " Ja", "pan", "."]

    answer, places = "".join(tokens), range(len(tokens))

    def decode(some: Sequence[int]) -> str:
        return "".join(tokens[place] for place in some)

    assert telling_tokens(answer, "Where is it?", places, decode) == [[5, 6], [8, 9]]
    assert telling_tokens(answer, "Where is it?", places, decode, once=True) == [[5, 6]]
    assert telling_tokens(answer, "Is it in Japan?", places, decode) == [[0]]


def test_the_telling_parts_of_answers_are_exchanged():
    kyoto, rome = (
        ("Kyoto lies in Japan .", "In which country is Kyoto?"),
        ("Rome lies in Northern Italy.", "Where is Rome?"),
    )
    assert exchanged(*kyoto, *rome) == "Kyoto lies in Northern Italy ."
    assert exchanged(*rome, *kyoto) == "Rome lies in Japan."
    assert exchanged("Paris", "", "Rome", "") == "Rome"


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        ("In which country is Kyoto?", "Kyoto"),
        ("Kyoto lies in which country?", "Kyoto"),
        ("Name the capital of South Korea.", "South Korea"),
        ("Who wrote 'The Black Sea'?", "Black Sea"),
        ("what is it?", None),
    ],
)
def test_the_subject_is_the_name(question: str, subject: str | None):
    assert subject_of(question) == subject
