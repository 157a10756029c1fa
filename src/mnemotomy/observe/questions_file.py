"""The file of a split's observations: safetensors with one number per token, and a JSON header with the texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from mnemotomy.core.artifacts import Artifact
from mnemotomy.observe.answers import AnswerObservations
from mnemotomy.observe.questions import QuestionObservations
from mnemotomy.text.records import TextExample

ARTIFACT = Artifact("mnemotomy-answers", "a file of observed answers; make it with save_questions")
_TENSORS = ("tokens", "log_probability", "hit", "mean", "deviation", "lengths")
_PARTS = ("answer", "paraphrased", "perturbed")


def save_questions(observations: QuestionObservations, path: str | Path) -> None:
    """Write a split's observations, all of them or nothing."""
    tensors: dict[str, Tensor] = {}
    parts: dict[str, Any] = {}
    for name in _PARTS:
        part: AnswerObservations | None = getattr(observations, name)
        if part is not None:
            tensors |= {f"{name}.{key}": getattr(part, key).clone() for key in _TENSORS}  # slices share memory
            parts[name] = {"texts": list(part.texts), "origin": dict(part.origin)}
    header = {
        "questions": [{**question.row(), "where": question.where} for question in observations.questions],
        "parts": parts,
        "generated": observations.generated,
    }
    ARTIFACT.write(path, tensors, header)


def load_questions(path: str | Path) -> QuestionObservations:
    """Read what ``save_questions`` wrote.

    Raises:
        ArtifactError: the file is missing, damaged, of another kind or of a later version.
    """
    with ARTIFACT.reading(path) as (file, header):
        parts = {name: _part(file, name, entry) for name, entry in header["parts"].items()}
        questions = tuple(
            TextExample.of_question(**{**row, "perturbed_answers": tuple(row["perturbed_answers"])})
            for row in header["questions"]
        )
        generated = None if header["generated"] is None else tuple(header["generated"])
        return QuestionObservations(questions, **parts, generated=generated)


def _part(file: Any, name: str, entry: dict[str, Any]) -> AnswerObservations:
    tensors = {key: file.get_tensor(f"{name}.{key}") for key in _TENSORS}
    texts = tuple(entry["texts"])
    sizes = {len(tensors[key]) for key in _TENSORS if key != "lengths"}
    if sizes != {int(tensors["lengths"].sum())} or len(texts) != len(tensors["lengths"]):
        raise ValueError(f"the tokens of {name!r} do not add up")
    return AnswerObservations(**tensors, texts=texts, origin=dict(entry["origin"]))
