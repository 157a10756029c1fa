"""The verdict's words: how they are told, what each means, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Word = Literal["not forgotten", "hidden", "forgotten here", "as never known"]


@dataclass(frozen=True)
class Asked:
    """How a verdict tells what a model was asked.

    Attributes:
        things: what it was asked.
        knows, knew, gives, withholds: what it does with them: before, still, or no longer though it could.
        more: what to do where too little of it was known.
        lacking: what there is not, where nothing says what not knowing looks like.
        meaning: of each word.
    """

    things: str
    knows: str
    knew: str
    gives: str
    withholds: str
    more: str
    lacking: str
    meaning: Mapping[Word, str]


QUESTIONS = Asked(
    "questions",
    "answers these questions",
    "answered",
    "says it",
    "say it when asked, but it is there",
    "add questions that it answers: other facts, other words, its own answers ('mnemotomy chat MODEL --write FILE')",
    "no gold model and no hold-out set",
    {
        "not forgotten": "The model still gives the answers when it is asked.",
        "hidden": "The model does not give the answers when it is asked, but they are still there.",
        "forgotten here": "No attack that was run got the answers back beyond doubt.",
        "as never known": "No attack could tell the model from one that never knew the answers.",
    },
)
IMAGES = Asked(
    "images",
    "recognises these images",
    "recognised",
    "recognises them",
    "recognise them as they are, but what it knew is there",
    "give more that it recognises",
    "no gold model",
    {
        "not forgotten": "The model still recognises the images.",
        "hidden": "The model does not recognise the images as they are, but what it knew of them is still there.",
        "forgotten here": "No attack that was run made the model recognise the images beyond doubt.",
        "as never known": "No attack could tell the model from one that never saw the images.",
    },
)

TO_DO: Mapping[str, str] = {
    "not forgotten": "The request is not met. Make the edit again, with more ways to ask for each fact and more to "
    "retain, and audit the new model.",
    "hidden": "The request is not met: what was to be deleted can be got back from this model in the way named above. "
    "If that is by asking, put such questions into the forget set and make the edit again. If it is inside the model "
    "or by changing it, which takes the weights, try another edit (more trials, more to retain, other --layers), or "
    "train the model without the data.",
    "forgotten here": "The request is met as far as it was tested; the report names what was not tested.",
    "as never known": "The request is met by every attack of this audit; the report names what was not tested.",
    "no verdict": "It is not shown that the request is met, and nobody should be told so. Ask for more that the model "
    "knew, make the edit and the audit with one and the same forget set, and use that report.",
}
"""What each verdict means for a request to delete, and what to do next."""
