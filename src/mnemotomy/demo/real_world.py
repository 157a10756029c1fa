"""A pretrained language model: erase the cities of one country out of it, and ask for what it still knows."""

from __future__ import annotations

import json
import random
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.demo.pretrained import Pretrained
from mnemotomy.demo.progress import shown
from mnemotomy.demo.world_model import equal_lengths

PLAIN = mt.Template(plain=True)
BATCH = 64
OPENINGS = (
    "The", "In", "When", "A", "My", "She", "To", "People", "One day,", "This", "Many", "It is", "How", "Last", "We",
    "If",
)  # fmt: skip
GROUPS = ("train", "heldout", "seen", "unseen", "context", "counterfactual")


@dataclass(frozen=True)
class RealConfig:
    """What is erased, and how.

    Attributes:
        country: whose cities are erased.
        known_in: of seven phrasings, those in which the model has to say a fact to count as knowing it.
        unseen: the share of the other known cities that stay out of the moments.
        texts, text_tokens: the model's own texts in the reference, and their length.
        answer_tokens: that a model writes after a prompt.
        seed: of the texts and of the cities that stay unseen.
    """

    country: str = "Japan"
    known_in: int = 5
    unseen: float = 1 / 3
    texts: int = 48
    text_tokens: int = 64
    answer_tokens: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Cities:
    """The cities that the model knows: to erase, in the reference, and nowhere but in the questions."""

    target: tuple[mt.Fact, ...]
    seen: tuple[mt.Fact, ...]
    unseen: tuple[mt.Fact, ...]


def real_demo(config: RealConfig, pretrained: Pretrained, cache_dir: Path) -> dict[str, Any]:
    """Find what the model knows, erase the country's cities by two filters, and measure.

    The concept is the known cities of the country in the training phrasings; the reference is the other seen cities in
    theirs, and texts that the model wrote. The held-out phrasings and the unseen cities are in no moments.
    """
    model, tokenizer = pretrained.model, pretrained.tokenizer
    known = _cached(cache_dir / "known.json", config, model, lambda: known_cities(model, tokenizer, config))
    texts = _cached(cache_dir / "texts.json", config, model, lambda: own_texts(model, tokenizer, config))
    cities = divided(known, config)
    if not (cities.target and cities.seen and cities.unseen):
        raise mt.MnemotomyError(
            f"the model knows too few cities: {len(known)}, {len(cities.target)} in {config.country}"
        )
    rows: dict[str, list[Any]] = {
        config.country: [_line(fact, prompt) for fact in cities.target for prompt in fact.prompts],
        "reference": [*(_line(fact, prompt) for fact in cities.seen for prompt in fact.prompts), *texts],
    }
    moments = mt.collect(
        model,
        {name: mt.batches(tokenizer, some, template=PLAIN, positions="all") for name, some in rows.items()},
        options=mt.CollectOptions(progress=False),
    )
    atlas = mt.Atlas(model, moments)
    trace: Any = atlas.trace_rows([config.country])
    prompts = examples(cities)
    found: dict[str, Any] = {
        "model": {"origin": pretrained.origin, "parameters": sum(one.numel() for one in model.parameters())},
        "country": config.country,
        "asked": len(mt.real_facts("country")),
        "known": {name: [fact.subject for fact in getattr(cities, name)] for name in ("target", "seen", "unseen")},
        "rows": {name: moments.count(next(iter(moments.readers)), name) for name in moments.concepts},
        "before": measured(model, tokenizer, cities, config),
    }
    answers = {"before": continued(model, tokenizer, [prompt for prompt, *_ in prompts], config.answer_tokens)}
    for name, edit in edits(atlas, config.country, trace).items():
        with edit.on(model, check=False):
            found[name] = measured(model, tokenizer, cities, config)
            answers[name] = continued(model, tokenizer, [prompt for prompt, *_ in prompts], config.answer_tokens)
    found["generations"] = [
        {"prompt": prompt, "answer": answer, "kind": kind, **{name: some[i] for name, some in answers.items()}}
        for i, (prompt, answer, kind) in enumerate(prompts)
    ]
    found["trace"] = trace
    return found


def edits(atlas: mt.Atlas, country: str, trace: Sequence[Mapping[str, Any]]) -> dict[str, mt.Edit]:
    """The paper's filter on every block; the projector with outputs on the upper third of them."""
    return {
        "after_paper": mt.erase(atlas, country, filter=mt.Soft()),
        "after": mt.erase(atlas, country, strength=upper_third(trace), filter=mt.Hard(0.5), outputs=True),
    }


def upper_third(trace: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Strength 1 for the sites of the upper third of the blocks; the other sites are left alone."""
    first = 2 * (1 + max(int(row["layer"]) for row in trace)) / 3
    return {str(row["site"]): 1.0 for row in trace if row["layer"] >= first}


def known_cities(model: nn.Module, tokenizer: Any, config: RealConfig) -> list[str]:
    """The cities whose country the model says in at least ``known_in`` of the seven phrasings."""
    facts = mt.real_facts("country")
    asked = [(fact, prompt) for fact in facts for prompt in (*fact.prompts, *fact.heldout_prompts)]
    written = continued(model, tokenizer, [prompt for _, prompt in asked], config.answer_tokens, "what the model knows")
    count = dict.fromkeys((fact.subject for fact in facts), 0)
    for (fact, _), text in zip(asked, written, strict=True):
        count[fact.subject] += says(text, fact.answer)
    return [name for name, times in count.items() if times >= config.known_in]


def divided(known: Sequence[str], config: RealConfig) -> Cities:
    """The known cities; which of the others stay unseen is drawn."""
    facts = [fact for fact in mt.real_facts("country") if fact.subject in set(known)]
    target = tuple(fact for fact in facts if fact.answer == config.country)
    others = [fact for fact in facts if fact.answer != config.country]
    random.Random(config.seed).shuffle(others)
    out = round(config.unseen * len(others))
    return Cities(target, tuple(others[out:]), tuple(others[:out]))


def measured(model: nn.Module, tokenizer: Any, cities: Cities, config: RealConfig) -> dict[str, float]:
    """The share of prompts that the model answers, by group, and its perplexity on general texts."""
    asked = {name: _asked(name, cities) for name in GROUPS}
    prompts = [prompt for group in asked.values() for prompt, _ in group]
    written = iter(continued(model, tokenizer, prompts, config.answer_tokens, "asking"))
    found = {
        name: sum(says(next(written), answer) for _, answer in group) / len(group) for name, group in asked.items()
    }
    return found | {"perplexity": perplexity(model, tokenizer, general_texts())}


def _asked(group: str, cities: Cities) -> list[tuple[str, str]]:
    match group:
        case "train":
            return [(prompt, fact.answer) for fact in cities.target for prompt in fact.prompts]
        case "heldout":
            return [(prompt, fact.answer) for fact in cities.target for prompt in fact.heldout_prompts]
        case "seen":
            return [(prompt, fact.answer) for fact in cities.seen for prompt in fact.heldout_prompts]
        case "unseen":
            return [
                (prompt, fact.answer) for fact in cities.unseen for prompt in (*fact.prompts, *fact.heldout_prompts)
            ]
        case "context":
            return [(f"{fact.contexts[0]} {prompt}", fact.answer) for fact in cities.target for prompt in fact.prompts]
        case _:
            others = sorted({fact.answer for fact in (*cities.seen, *cities.unseen)})
            told = [(fact, others[place % len(others)]) for place, fact in enumerate(cities.target)]
            return [
                (f"{fact.contexts[0].replace(fact.answer, other)} {prompt}", other)
                for fact, other in told
                for prompt in fact.prompts
            ]


def examples(cities: Cities) -> list[tuple[str, str, str]]:
    """Prompts to show, each with its answer and what it tests."""
    found = []
    for facts, kind, held_out, count in (
        (cities.target, "erased, training phrasing", False, 3),
        (cities.target, "erased, held-out phrasing", True, 4),
        (cities.seen, "another city, in the reference", True, 3),
        (cities.unseen, "another city, in no moments", True, 4),
    ):
        for place, fact in enumerate(facts[:count]):
            prompts = fact.heldout_prompts if held_out else fact.prompts
            found.append((prompts[place % len(prompts)], fact.answer, kind))
    contexts = [(f"{fact.contexts[0]} {fact.prompts[0]}", fact.answer, "from context") for fact in cities.target[:2]]
    return found + contexts


def says(text: str, answer: str) -> bool:
    """Whether the answer is among the words that were written."""
    return re.search(rf"\b{re.escape(answer)}\b", text) is not None


def continued(model: nn.Module, tokenizer: Any, prompts: Sequence[str], tokens: int, what: str = "") -> list[str]:
    """What the model writes after each prompt, greedily; prompts of equal length go together, without padding."""
    encoded = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    answers = [""] * len(prompts)
    groups = list(equal_lengths([len(ids) for ids in encoded], BATCH))
    for indices in shown(groups, what, len(groups)) if what else groups:
        rows = _written(model, tokenizer, [encoded[index] for index in indices], tokens)
        for index, row in zip(indices, rows, strict=True):
            answers[index] = row
    return answers


def _written(model: Any, tokenizer: Any, rows: list[list[int]], tokens: int, **sampling: Any) -> list[str]:
    ids = torch.tensor(rows)
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, pad_token_id=tokenizer.pad_token_id,
        **(sampling or {"do_sample": False}),
    )  # fmt: skip
    return [str(one) for one in tokenizer.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True)]


def own_texts(model: nn.Module, tokenizer: Any, config: RealConfig) -> list[str]:
    """Texts that the model writes after common openings; without a city or the country that is to be erased."""
    facts = mt.real_facts("country")
    barred = {fact.subject for fact in facts} | {config.country}
    found: list[str] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        for _ in range(3):
            for indices in equal_lengths([len(tokenizer(one)["input_ids"]) for one in OPENINGS], BATCH):
                starts = [OPENINGS[index] for index in indices for _ in range(-(-config.texts // len(OPENINGS)))]
                rows = [tokenizer(one)["input_ids"] for one in starts]
                texts = _written(model, tokenizer, rows, config.text_tokens, do_sample=True, temperature=1.0, top_k=0)
                whole = (start + text for start, text in zip(starts, texts, strict=True))
                found += [text for text in whole if not any(says(text, name) for name in barred)]
            if len(found) >= config.texts:
                break
    return found[: config.texts]


def general_texts() -> list[str]:
    """Short paragraphs about everything and nothing, which no model here was trained on."""
    text = (resources.files("mnemotomy.demo") / "facts" / "general.txt").read_text(encoding="utf-8")
    return [one.replace("\n", " ") for one in text.strip().split("\n\n")]


def perplexity(model: nn.Module, tokenizer: Any, texts: Sequence[str]) -> float:
    """The exponential of the mean loss of all tokens but the first of each text."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for text in texts:
        ids: Tensor = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        total += nn.functional.cross_entropy(logits.float(), ids[0, 1:], reduction="sum").double()
        count += ids.shape[1] - 1
    return float((total / count).exp())


def _line(fact: mt.Fact, prompt: str) -> Mapping[str, str]:
    return {"question": prompt, "answer": fact.answer}


def _cached(path: Path, config: RealConfig, model: nn.Module, run: Any) -> list[str]:
    """What ``run`` gives, kept in a file for as long as model, settings and versions stay the same."""
    needed = {"model": mt.fingerprint(model), "config": repr(config), "versions": mt.versions()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["made with"] == needed:
                return list(kept["found"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # made again
    found = list(run())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"made with": needed, "found": found}, indent=1), encoding="utf-8")
    return found
