"""AltPO: preference optimisation that prefers other facts, written by the model itself, to the forget set."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.core.files import output_file
from mnemotomy.core.fingerprints import fingerprint, tokenizer_digest
from mnemotomy.core.integrity import is_sealed, read_sealed, write_sealed
from mnemotomy.core.json_text import read_json
from mnemotomy.core.keys import key
from mnemotomy.core.modules import device_of
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.seeds import seeded
from mnemotomy.methods.language.gradient import STRONG, Rows
from mnemotomy.methods.language.loop import Step
from mnemotomy.methods.language.preference import Preference
from mnemotomy.methods.language.problem import TextProblem, answered
from mnemotomy.methods.registry import register
from mnemotomy.observe.generation import continue_sampled
from mnemotomy.text.encoding import Encoded
from mnemotomy.text.template import prompt_of
from mnemotomy.text.tokenizing import encode_prompt

REQUEST = (
    "Question: {question}\nAnswer: {answer}\n"
    "Now write another version of the answer with some alternate plausible facts that change answer details."
)
"""The user's turn (Mekala et al. 2025, their prompt for Llama 2)."""

ANNOUNCEMENT = "Alternate Answer:"
"""The beginning of the model's own turn."""

STOPS = ("Question:", "Q:")
"""A model that begins the next question has ended its answer."""

BATCH_SIZE = 64
"""Questions to answer at a time."""


def alternate_answers(problem: TextProblem, method: AltPO) -> list[tuple[str, ...]]:
    """Answers to each example to forget, sampled from the problem's model; the same for the same seed.

    Empty answers are dropped; a question without any other answer gets the announcement itself. ``method.file`` is read
    where it belongs to the same request, and written otherwise.

    Raises:
        DataError: an example is not a question, the tokenizer has no padding token, or the file is damaged.
        ModelError: the model cannot generate, or its window leaves no room for an answer.
    """
    key = _key(problem, method)
    if method.file is not None and (kept := _read(Path(method.file), key)) is not None:
        return kept
    answers = _sample(problem, method)
    if method.file is not None:
        with output_file(method.file) as file:
            write_sealed(file, {"key": key, "answers": answers})
    return answers


def _sample(problem: TextProblem, method: AltPO) -> list[tuple[str, ...]]:
    prompts = [_prompt(problem, one.question, one.answer) for one in problem.forget]
    found: list[list[str]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    with (
        seeded(problem.seed, device_of(problem.model)),
        progress_bar("alternate answers", method.alternates * len(prompts)) as advance,
    ):
        for _ in range(method.alternates):
            for start in range(0, len(order), BATCH_SIZE):
                indices = order[start : start + BATCH_SIZE]
                texts = continue_sampled(
                    problem.model, problem.tokenizer, [prompts[index] for index in indices],
                    method.max_new_tokens, temperature=method.temperature,
                )  # fmt: skip
                for index, text in zip(indices, map(_first_answer, texts), strict=True):
                    if text:
                        found[index].append(text)
                advance(len(indices))
    return [tuple(texts) or (ANNOUNCEMENT,) for texts in found]


def _prompt(problem: TextProblem, question: str, answer: str) -> list[int]:
    """The request as tokens, up to the start of the alternate answer."""
    text = prompt_of(problem.tokenizer, REQUEST.format(question=question, answer=answer), problem.template)
    chat = problem.template.uses_chat(problem.tokenizer)
    return encode_prompt(problem.tokenizer, text + ANNOUNCEMENT, special_tokens=not chat)


def _first_answer(text: str) -> str:
    for stop in STOPS:
        text = text.split(stop, maxsplit=1)[0]
    return text.strip()


def _key(problem: TextProblem, method: AltPO) -> str:
    turns = [[turn.content for turn in example.turns] for example in problem.forget]
    request = [REQUEST, ANNOUNCEMENT, asdict(problem.template), tokenizer_digest(problem.tokenizer), turns]
    sampling = {name: getattr(method, name) for name in ("alternates", "temperature", "max_new_tokens")}
    return key([*request, sampling | {"batch_size": BATCH_SIZE}, problem.seed, fingerprint(problem.model)])


def _read(path: Path, key: str) -> list[tuple[str, ...]] | None:
    try:
        sealed = is_sealed(path)
        kept = read_sealed(path) if sealed else read_json(path.read_text(encoding="utf-8"))
        if not sealed:
            warnings.warn(f"{path} has no hash of its content; damage would go unnoticed", stacklevel=2)
        return [tuple(texts) for texts in kept["answers"]] if kept["key"] == key else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a file of alternate answers ({error}); delete it, or name another file"
        ) from error


@register(
    "alt-po",
    "AltPO",
    "Mekala et al. 2025, Alternate Preference Optimization for Unlearning Factual Knowledge in LLMs",
    cost="5 generations of the forget set; 10 epochs of both sets, forwards and backwards",
    small={"learning_rate": STRONG, "alternates": (1,), "max_new_tokens": (100,), "epochs": (3,)},
)
class AltPO(Preference):
    """`Preference` for alternate answers that the problem's own model gives when asked for other facts.

    A question is shown with one alternate at a time, drawn anew; in the published data, an epoch shows it with all five
    and takes five times as long.

    Attributes:
        alternates: per question.
        temperature: of the sampling, from the whole vocabulary.
        max_new_tokens: per alternate.
        file: where they are kept as JSON, so that they are sampled once for many configurations.
    """

    alternates: int = 5
    temperature: float = 1.0
    max_new_tokens: int = 200
    file: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.alternates, self.max_new_tokens) < 1 or not self.temperature > 0.0:
            raise ConfigurationError("alternates, max_new_tokens and temperature are above 0")

    def preferred(self, problem: TextProblem) -> Rows:
        rows = [
            [answered(problem, example.question, answer) for answer in found]
            for example, found in zip(problem.forget, alternate_answers(problem, self), strict=True)
        ]

        def draw(step: Step) -> Sequence[Encoded]:
            chosen = random.Random(f"{step.seed} alternates")
            return [chosen.choice(rows[index]) for index in step.forget]

        return draw
