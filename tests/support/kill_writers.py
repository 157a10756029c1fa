"""Every kind of writer that the product has, each with an old and a new content."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from helpers import QUIET, mlp, randn, tiny_llama
from killing import Work, Writer
from small_facts import KYOTO, PARIS, ROME
from tiny_language import tokenizer, write_lines

import mnemotomy as mt
from mnemotomy.core import temporary
from mnemotomy.core.cells import json_cells
from mnemotomy.core.files import output_file, replacing_folder, write_text
from mnemotomy.demo.page import Section, write_page
from mnemotomy.evaluation.evaluating import write_evaluation
from mnemotomy.observe.questions import Asking, Observed, observe_questions, save_questions
from mnemotomy.report.figures import accuracy_heatmap
from mnemotomy.store.fact_store import FactStore
from mnemotomy.text.records import TextExample
from mnemotomy.training.checkpoint import Checkpoints, Progress, State
from mnemotomy.training.log import StepLog


def of_files() -> Iterator[Writer]:
    """One file or folder each."""

    def text(content: str) -> Work:
        return lambda: write_text("f.txt", content * 50_000)

    def folder(content: str) -> Work:
        def write() -> None:
            with replacing_folder("d") as inside:
                for name in "abc":
                    (inside / name).write_text(content * 20_000)

        return write

    def in_two_steps() -> None:
        exchange, temporary.exchange = temporary.exchange, lambda *_: False
        try:
            folder("new")()
        finally:
            temporary.exchange = exchange

    yield Writer("a text", text("old"), text("new"))
    yield Writer("a folder, exchanged", folder("old"), folder("new"))
    yield Writer("a folder, in two steps", folder("old"), in_two_steps, settle=("d",))
    yield Writer("a file by way of another", nested("old"), nested("new"))
    yield Writer("facts to a file", lambda: mt.write_facts("f", [KYOTO]), lambda: mt.write_facts("f", [ROME, PARIS]))
    yield Writer("a figure", lambda: heatmap("old"), lambda: heatmap("new"))
    yield Writer("a page", lambda: page("old"), lambda: page("new"))
    yield Writer("an evaluation", lambda: evaluated(0.5), lambda: evaluated(0.25), several=True)
    yield Writer("a cell", cell("old"), cell("new"))


def nested(content: str) -> Work:
    """As cells of tensors are written: by a temporary file of its own, and by one that safetensors names itself."""

    def write() -> None:
        with output_file("f.bin") as outer, output_file(outer) as inner:
            own = inner.with_name(".tmpAb12Cd")
            own.write_text(content * 20_000)
            own.replace(inner)

    return write


def heatmap(name: str) -> None:
    accuracy_heatmap({name: [[0.5, 1.0], [0.0, 0.25]]}, ["x", "y"], Path("f.png"))


def page(text: str) -> None:
    write_page("p.html", text, text, [Section(text, [text * 20_000])], text)


def evaluated(value: float) -> None:
    write_evaluation(
        "e", {name: {"agg_value": value, "value_by_index": {}} for name in ("forget_truth_ratio", "mia_loss")}
    )


def cell(text: str) -> Work:
    def write() -> None:
        cells = json_cells(Path("cells"))
        if text == "old":
            cells.kept("old", lambda: {"found": text * 50_000})
        cells.kept(text, lambda: {"found": text * 50_000})

    return write


@functools.cache
def atlas(seed: int) -> mt.Atlas:
    model = mlp(40, 50, 40)
    data = {"a": [randn(90, 40, seed=seed)], "b": [randn(200, 40, seed=seed + 1)]}
    return mt.Atlas(model, mt.collect(model, data, options=QUIET))


@functools.cache
def language_model(seed: int) -> Any:
    model = tiny_llama(vocab_size=len(tokenizer()), max_position_embeddings=256)
    with torch.no_grad():
        model.lm_head.weight.add_(seed)
    return model


@functools.cache
def answers(number: int) -> Any:
    asked = [TextExample.of_question("Kyoto ?", "Japan ."), TextExample.of_question("Rome ?", "Italy .")][:number]
    return observe_questions(Observed(language_model(0), tokenizer()), asked, Asking(max_new_tokens=2))


def of_artifacts() -> Iterator[Writer]:
    """Moments, edits, models, observations and checkpoints."""
    yield Writer("moments", lambda: atlas(0).moments.save("m"), lambda: atlas(2).moments.save("m"))
    yield Writer("an edit", lambda: mt.erase(atlas(0), "a").save("e"), lambda: mt.erase(atlas(2), "a").save("e"))
    yield Writer("a model", lambda: saved(0), lambda: saved(1))
    yield Writer(
        "answers", lambda: save_questions(answers(1), Path("a")), lambda: save_questions(answers(2), Path("a"))
    )
    yield Writer("a log, resumed", lambda: logged(0, 400), lambda: logged(400, 401), steps)
    yield Writer("a checkpoint of training", lambda: checkpoint(1), lambda: checkpoint(2), tensors)


def saved(seed: int) -> None:
    mt.save_model(language_model(seed), "model", tokenizer=tokenizer(), extra={"note.md": f"{seed}"})


def logged(start: int, stop: int) -> None:
    log = StepLog(Path("steps.jsonl"), resume_at=start)
    for step in range(start, stop):
        log.add({"step": step, "total": 0.5})
    log.close()


def steps(folder: Path) -> list[int]:
    """The whole lines of a log; one that was not finished is dropped by the next run."""
    lines = (folder / "steps.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


def checkpoint(epochs: int) -> None:
    model = mlp(40, 50, 40)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(epochs):
        model(randn(2, 40)).sum().backward()
        optimizer.step()
    State(model, optimizer, None, torch.Generator()).save(Checkpoints(Path("c"), "key"), Progress(epochs, 2, 3.0))


def tensors(folder: Path) -> Any:
    """The progress of a checkpoint that loads, and a weight."""
    model = mlp(40, 50, 40)
    state = State(model, torch.optim.AdamW(model.parameters()), None, torch.Generator())
    return state.load(Checkpoints(folder / "c", "key")), float(model[0].weight.sum())


def of_stores() -> Iterator[Writer]:
    """Every change of a fact store, and one that is made anew."""
    many = [replace(PARIS, subject=f"Town {number}", contexts=()) for number in range(300)]

    def store(change: Any, *first: Any) -> Work:
        def write() -> None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*cannot be checked")
                with FactStore("s.db") as opened:
                    change(opened)

        return write

    full = store(lambda opened: opened.add([KYOTO, PARIS, *many[:100]]))
    write_lines_of = [{"subject": one.subject, "answer": one.answer} for one in many]

    def with_file() -> None:
        full()
        write_lines(Path("facts.jsonl"), write_lines_of)

    def remove(opened: FactStore) -> None:
        if opened.get("Paris"):
            opened.delete("Paris")
        else:  # the next run writes, too: SQLite then removes the journal of one that had written nothing
            opened.set_note("again", True)

    yield Writer("a store: made", lambda: None, full, facts)
    yield Writer("a store: add", full, store(lambda opened: opened.add(many)), facts)
    yield Writer(
        "a store: update",
        full,
        store(lambda opened: opened.update(replace(KYOTO, answer="Nippon", contexts=()))),
        facts,
    )
    yield Writer("a store: delete", full, store(remove), facts)
    yield Writer("a store: import", with_file, store(lambda opened: opened.import_file("facts.jsonl")), facts)
    if find_spec("qdrant_client") is not None:
        yield Writer("a store with vectors", dense(1), dense(3), vectors, kills=8)
    yield Writer("a store: a note", full, store(lambda opened: opened.set_note("threshold", {"a": 1})), facts)


def facts(folder: Path) -> Any:
    """All that a store gives; opening it rolls back what was not finished."""
    if not (folder / "s.db").exists() or not (folder / "s.db").stat().st_size:
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*cannot be checked")
        with FactStore(folder / "s.db") as opened:
            return (
                (list(opened), opened.note("threshold"), [hit.fact for hit in opened.search("Kyoto Paris", 9)])
                if len(opened)
                else None
            )


def letters(texts: Sequence[str]) -> torch.Tensor:
    """Counts of letters, at unit length."""
    counts = torch.tensor([[float(text.lower().count(chr(97 + i))) for i in range(26)] for text in texts])
    return torch.nn.functional.normalize(counts + 1e-3, dim=-1)


def dense(number: int) -> Work:
    def write() -> None:
        with FactStore("s.db") as store, mt.DenseFactStore(store, letters, Path("v")) as opened:
            opened.add([KYOTO, PARIS, ROME][:number])

    return write


def vectors(folder: Path) -> Any:
    """Facts, and what is found by its vector: opening brings the two in step."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*cannot be checked")
        with FactStore(folder / "s.db") as store, mt.DenseFactStore(store, letters, folder / "v") as opened:
            return list(store), {hit.fact.subject for hit in opened.search("Rome is in Italy.", 9)}
