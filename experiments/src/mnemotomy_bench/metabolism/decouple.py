"""The decouple bench: the same store with the original model and with models that no longer know the facts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
from mnemotomy.data.fact import Fact
from mnemotomy.data.real_facts import real_facts, real_relations
from mnemotomy.demo.world import small_world
from mnemotomy.metabolism.rlcp import EngramStart
from mnemotomy.metabolism.setup import Retained, start_from_engram
from mnemotomy.metabolism.streams import Streams
from mnemotomy.store.fact_store import FactStore
from mnemotomy.store.reader import Reader
from mnemotomy_bench.lab.seeds import numbers, over_seeds
from mnemotomy_bench.metabolism.configurations import ORIGINAL, configurations, plan_of
from mnemotomy_bench.metabolism.many_facts import city_facts
from mnemotomy_bench.metabolism.records import Decoupled, DecoupledSeed
from mnemotomy_bench.metabolism.run import cell, run_threads
from mnemotomy_bench.metabolism.subject import Subject, subject_for
from mnemotomy_bench.metabolism.world_facts import world_facts
from mnemotomy_bench.metrics.answers import answers_match

ENGRAM = "engram edit"
MODELS = (ORIGINAL, ENGRAM, "B just-RAG", "RLCP stable", "RLCP from engram")
ABSENT = ("Atlantis", "Camelot", "Shangri-La", "Eldorado", "Utopia")


def run_decouple(
    out_dir: Path,
    *,
    scale: str = "small",
    model: str | None = None,
    seeds: Sequence[int] | None = None,
    models: Sequence[str] = MODELS,
    facts: int | None = None,
) -> list[dict[str, Any]]:
    """One record per model: the mean over the seeds, and ``… spread`` for the standard deviation.

    Args:
        out_dir: of the metabolism bench; its models are reused.
        scale, model, seeds: as for ``run_metabolism``.
        models: the models to test with the store.
        facts: in the store of a pretrained model: the largest cities of the world fill it up.

    Raises:
        ConfigurationError: there is no such model, or ``facts`` is given for the small world.
    """
    known = [*configurations(scale, 0), ENGRAM]
    if unknown := [name for name in models if name not in known]:
        raise ConfigurationError(f"there is no configuration {unknown[0]!r}; choose among {', '.join(known)}")
    if facts is not None and model is None:
        raise ConfigurationError("the small world has few facts; give a pretrained model with the number of facts")
    cells: dict[str, list[DecoupledSeed]] = {}
    with run_threads(model):
        for seed in seeds or plan_of(scale).seeds:
            subject = subject_for(model, seed, out_dir / "models")
            others = _others(model, seed, subject, facts)
            for name in models:
                treated, tokenizer = _treated(out_dir, subject, name, scale, seed)
                path = out_dir / "stores" / f"{name.replace(' ', '-')}-{seed}.db"
                found = decouple(treated, tokenizer, subject, others, path)
                cells.setdefault(name, []).append({**found, "seed": seed})
    return [_summary(name, found) for name, found in cells.items()]


def decouple(model: Any, tokenizer: Any, subject: Subject, others: Sequence[Fact], path: Path) -> Decoupled:
    """Move the facts into a fresh store at ``path``, ask, change every one of them, ask, delete them, ask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f"{path.name}*"):
        leftover.unlink()
    questions = [(fact, prompt) for fact in subject.facts for prompt in fact.prompts + fact.heldout_prompts]
    asked = [prompt for _, prompt in questions]
    with FactStore(path) as store:
        store.add([*subject.facts, *others])
        reader = Reader(model, tokenizer, store, format=subject.format, max_new_tokens=4)
        true = [fact.answer for fact, _ in questions]
        without_store, with_store = _right(reader.recall_many(asked), true), _right(_texts(reader, asked), true)
        about = [(fact, fact.prompts[0]) for fact in others]
        others_with_store = _right(_texts(reader, [p for _, p in about]), [f.answer for f, _ in about])
        changed = _changed(subject.facts)
        for fact in changed.values():
            store.update(fact)
        texts = _texts(reader, asked)
        for fact in subject.facts:
            store.delete(fact.subject, fact.relation or None)
        answers = reader.ask_many(asked)
        absent = [prompt.replace(fact.subject, name) for name in ABSENT for fact, prompt in questions[:16]]
        return {
            "without_store": without_store,
            "with_store": with_store,
            "others_with_store": others_with_store,
            "follows_change": _right(texts, [changed[fact.subject].answer for fact, _ in questions]),
            "stale": _right(texts, true),
            "answered_after_deletion": _right([answer.text for answer in answers], true),
            "admits_deletion": sum(not answer.known for answer in answers) / len(answers),
            "admits_absent": sum(not answer.known for answer in reader.ask_many(absent)) / len(absent),
        }


def _texts(reader: Reader, questions: Sequence[str]) -> list[str]:
    return [answer.text for answer in reader.ask_many(questions)]


def _right(texts: Sequence[str], answers: Sequence[str]) -> float:
    return sum(answers_match(text, answer) for text, answer in zip(texts, answers, strict=True)) / len(texts)


def _changed(facts: Sequence[Fact]) -> dict[str, Fact]:
    """Each fact with the next one's answer."""
    answers = sorted({fact.answer for fact in facts})
    return {fact.subject: fact.saying(answers[(answers.index(fact.answer) + 1) % len(answers)]) for fact in facts}


def _treated(out_dir: Path, subject: Subject, name: str, scale: str, seed: int) -> tuple[Any, Any]:
    """A model and its tokenizer after treatment: from the bench's cache, or in closed form."""
    model, tokenizer = subject.load()
    if name == ENGRAM:
        streams = Streams(subject.facts, tokenizer, format=subject.format, counterfactuals=0.0, seed=seed)
        start_from_engram(model, EngramStart(), streams, Retained(subject.retain, tokenizer))
        return model, tokenizer
    config = configurations(scale, seed)[name]
    if config is None:
        return model, tokenizer
    key = cell(out_dir, subject, name, config, seed, every_layer=scale != "tiny")["key"]
    folder = out_dir / "treated" / key
    with quiet_transformers():
        return load_model(folder).eval(), load_tokenizer(folder)


def _others(model: str | None, seed: int, subject: Subject, count: int | None) -> list[Fact]:
    """The other facts in the store."""
    if model is None:
        world = small_world(seed)
        return list(world_facts(world, [one for one in world.others if one.relation == "country"]))
    targets = {fact.subject for fact in subject.facts}
    found = [fact for relation in real_relations() for fact in real_facts(relation) if fact.subject not in targets]
    missing = 0 if count is None else count - len(found) - len(targets)
    return found + list(city_facts(missing, targets | {fact.subject for fact in found}) if missing > 0 else ())


def _summary(name: str, cells: Sequence[DecoupledSeed]) -> dict[str, Any]:
    return {"model": name, "seeds": [one["seed"] for one in cells]} | over_seeds(cells, numbers(cells[0]))
