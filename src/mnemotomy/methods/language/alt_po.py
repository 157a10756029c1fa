"""AltPO: preference optimisation with other facts, which the model writes itself, preferred to the forget set."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.core.files import write_text
from mnemotomy.core.fingerprints import fingerprint, tokenizer_digest
from mnemotomy.core.keys import key
from mnemotomy.core.modules import device_of
from mnemotomy.core.progress import progress_bar
from mnemotomy.methods.base import SearchSpace
from mnemotomy.methods.language.gradient import STRONG
from mnemotomy.methods.language.loop import Step
from mnemotomy.methods.language.preference import Draw, Preference
from mnemotomy.methods.language.problem import TextProblem, answered
from mnemotomy.methods.registry import register
from mnemotomy.observe.generation import continue_sampled
from mnemotomy.text.encoding import Encoded
from mnemotomy.text.template import has_chat_template, prompt_of
from mnemotomy.text.tokenizing import encode_prompt

REQUEST = (
    "Question: {question}\nAnswer: {answer}\n"
    "Now write another version of the answer with some alternate plausible facts that change answer details."
)
"""What the model is asked, as the user's turn (Mekala et al. 2025, their prompt for Llama 2)."""

ANNOUNCEMENT = "Alternate Answer:"
"""What the model's own turn begins with."""

STOPS = ("Question:", "Q:")
"""A model that begins with the next question has ended its answer."""


@dataclass(frozen=True)
class Sampling:
    """How answers are sampled: from the whole vocabulary, without any penalty.

    Attributes:
        alternates: per question.
        temperature: of the sampling.
        max_new_tokens: per answer.
        batch_size: questions at a time.

    Raises:
        ConfigurationError: a value is not above 0.
    """

    alternates: int = 5
    temperature: float = 1.0
    max_new_tokens: int = 200
    batch_size: int = 64

    def __post_init__(self) -> None:
        if min(self.alternates, self.max_new_tokens, self.batch_size) < 1 or not self.temperature > 0.0:
            raise ConfigurationError("alternates, new tokens, batch size and temperature are above 0")


def alternate_answers(
    problem: TextProblem, sampling: Sampling, file: str | Path | None = None
) -> list[tuple[str, ...]]:
    """Answers to each example to forget, sampled from the problem's model; the same for the same seed.

    An answer that comes out empty is left out; a question with no other has the announcement itself in their place.

    Args:
        problem: whose questions are asked, whose model answers, and whose seed is used.
        sampling: how many, how.
        file: where the answers are kept, as JSON; read in place of sampling where it belongs to the same request.

    Raises:
        DataError: an example is no question, or the tokenizer has no padding token.
        ModelError: the model cannot generate, or its window leaves no room for an answer.
    """
    key = _key(problem, sampling)
    if file is not None and (kept := _read(Path(file), key)) is not None:
        return kept
    answers = _sample_all(problem, sampling)
    if file is not None:
        write_text(file, json.dumps({"key": key, "answers": answers}, ensure_ascii=False))
    return answers


def _sample_all(problem: TextProblem, sampling: Sampling) -> list[tuple[str, ...]]:
    prompts = [_prompt(problem, one.question, one.answer) for one in problem.forget]
    found: list[list[str]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    device = device_of(problem.model)
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        progress_bar("alternate answers", sampling.alternates * len(prompts)) as advance,
    ):
        torch.manual_seed(problem.seed)
        for _ in range(sampling.alternates):
            for start in range(0, len(order), sampling.batch_size):
                indices = order[start : start + sampling.batch_size]
                texts = continue_sampled(
                    problem.model, problem.tokenizer, [prompts[index] for index in indices],
                    sampling.max_new_tokens, temperature=sampling.temperature,
                )  # fmt: skip
                for index, text in zip(indices, map(_first, texts), strict=True):
                    if text:
                        found[index].append(text)
                advance(len(indices))
    return [tuple(texts) or (ANNOUNCEMENT,) for texts in found]


def _prompt(problem: TextProblem, question: str, answer: str) -> list[int]:
    """The request as tokens, up to where the alternate answer begins."""
    text = prompt_of(problem.tokenizer, REQUEST.format(question=question, answer=answer), problem.template)
    chat = has_chat_template(problem.tokenizer)
    return encode_prompt(problem.tokenizer, text + ANNOUNCEMENT, special_tokens=not chat)


def _first(text: str) -> str:
    for stop in STOPS:
        text = text.split(stop, maxsplit=1)[0]
    return text.strip()


def _key(problem: TextProblem, sampling: Sampling) -> str:
    turns = [[turn.content for turn in example.turns] for example in problem.forget]
    request = [REQUEST, ANNOUNCEMENT, asdict(problem.template), tokenizer_digest(problem.tokenizer), turns]
    return key([*request, vars(sampling), problem.seed, fingerprint(problem.model)])


def _read(path: Path, key: str) -> list[tuple[str, ...]] | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return [tuple(texts) for texts in kept["answers"]] if kept["key"] == key else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no alternate answers ({error}); delete it, or name another file") from error


@register
@dataclass(frozen=True)
class AltPO(Preference):
    """`Preference` for alternate answers that the problem's own model gives when it is asked for other facts.

    A question is shown with one of its alternates at a time, drawn anew; in the published data, an epoch shows it with
    all five, and takes five times as long.

    Attributes:
        alternates: per question.
        temperature: at which they are sampled.
        max_new_tokens: per alternate.
        file: where they are kept, so that they are sampled once for many configurations.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    alternates: int = 5
    temperature: float = 1.0
    max_new_tokens: int = 200
    file: str | None = None

    name: ClassVar = "alt-po"
    title: ClassVar = "AltPO"
    paper: ClassVar = "Mekala et al. 2025, Alternate Preference Optimization for Unlearning Factual Knowledge in LLMs"
    cost: ClassVar = "5 generations of the forget set; 10 epochs of both sets, forwards and backwards"
    search_space: ClassVar = SearchSpace(
        Preference.search_space.paper,
        small={"learning_rate": STRONG, "alternates": (1,), "max_new_tokens": (100,), "epochs": (3,)},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sampling()

    def preferred(self, problem: TextProblem) -> Draw:
        answers = alternate_answers(problem, self._sampling(), self.file)
        rows = [
            [answered(problem, example.question, answer) for answer in found]
            for example, found in zip(problem.forget, answers, strict=True)
        ]

        def draw(step: Step) -> Sequence[Encoded]:
            chosen = random.Random(f"{step.seed} alternates")
            return [chosen.choice(rows[index]) for index in step.forget]

        return draw

    def _sampling(self) -> Sampling:
        return Sampling(self.alternates, self.temperature, self.max_new_tokens)
