"""A pretrained language model: erase the cities of one country out of it, and ask for what it still knows."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.demo.kept import Kept
from mnemotomy.demo.pretrained import Pretrained
from mnemotomy.demo.progress import shown
from mnemotomy.demo.world_model import equal_lengths

PLAIN = mt.Template(plain=True)
CPU = torch.device("cpu")
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
        paper: the paper's filter, on all projections at strength 1.
        ours, strength: the filter and the strength with outputs, on the attention of the upper third of the blocks: the
            first candidate of ``mnemotomy forget``.
        seed: of the texts and of the cities that stay unseen.
    """

    country: str = "Japan"
    known_in: int = 5
    unseen: float = 1 / 3
    texts: int = 48
    text_tokens: int = 64
    answer_tokens: int = 5
    paper: mt.Soft = field(default_factory=mt.Soft)
    ours: mt.Soft | mt.Hard = field(default_factory=mt.Soft)
    strength: float = 1.5
    seed: int = 0


@dataclass(frozen=True)
class Cities:
    """The cities that the model knows: to erase, in the reference, and nowhere but in the questions."""

    target: tuple[mt.Fact, ...]
    seen: tuple[mt.Fact, ...]
    unseen: tuple[mt.Fact, ...]


def real_demo(config: RealConfig, pretrained: Pretrained, cache_dir: Path) -> dict[str, Any]:
    """Find what the model knows, erase the country's cities by two edits, and measure.

    The concept is the known cities of the country in the training phrasings; the reference is the other seen cities in
    theirs, and texts that the model wrote. The held-out phrasings and the unseen cities are in no moments. Every stage
    is kept in ``cache_dir``: a stopped run resumes, and the same run again takes seconds.
    """
    model, tokenizer = pretrained.model, pretrained.tokenizer
    kept = Kept(cache_dir, {"model": mt.fingerprint(model), "config": repr(config), "versions": mt.versions()})

    def write(prompts: Sequence[str], what: str) -> dict[str, str]:
        return dict(zip(prompts, continued(model, tokenizer, prompts, config.answer_tokens, what), strict=True))

    told = kept("told", lambda: write(phrasings(), "what the model knows"))
    known = known_cities(told, config)
    cities = divided(known, config)
    if not (cities.target and cities.seen and cities.unseen):
        raise mt.MnemotomyError(
            f"the model knows too few cities: {len(known)}, {len(cities.target)} in {config.country}"
        )
    texts = kept("texts", lambda: own_texts(model, tokenizer, config))
    atlas = functools.cache(lambda: mt.Atlas(model, collected(model, tokenizer, cities, texts, config)))
    stored = kept("stored", lambda: where_stored(atlas(), config))
    prompts = [prompt for prompt, *_ in examples(cities)]

    def state(told: Mapping[str, str]) -> dict[str, Any]:
        asked = {name: _asked(name, cities) for name in GROUPS}
        needed = dict.fromkeys([*(prompt for group in asked.values() for prompt, _ in group), *prompts])
        new = [prompt for prompt in needed if prompt not in told]
        texts = {**told, **write(new, "asking")}
        shares = {
            name: sum(says(texts[prompt], answer) for prompt, answer in group) / len(group)
            for name, group in asked.items()
        }
        general = perplexity(model, tokenizer, general_texts())
        return {"shares": shares | {"perplexity": general}, "texts": [texts[prompt] for prompt in prompts]}

    def edited(edit: Callable[[], mt.Edit]) -> dict[str, Any]:
        with edit().on(model, check=False):
            return state({})

    states = {"before": kept("before", lambda: state(told))}
    for name, edit in edits(atlas, stored["trace"], config).items():
        states[name] = kept(name, functools.partial(edited, edit))
    return {
        "model": {"origin": pretrained.origin, "parameters": sum(one.numel() for one in model.parameters())},
        "country": config.country,
        "asked": len(mt.real_facts("country")),
        "known": {name: [fact.subject for fact in getattr(cities, name)] for name in ("target", "seen", "unseen")},
        "rows": stored["rows"],
        "strength": config.strength,
        **{name: one["shares"] for name, one in states.items()},
        "generations": [
            {
                "prompt": prompt,
                "answer": answer,
                "kind": kind,
                **{name: one["texts"][i] for name, one in states.items()},
            }
            for i, (prompt, answer, kind) in enumerate(examples(cities))
        ],
        "trace": stored["trace"],
    }


def collected(model: nn.Module, tokenizer: Any, cities: Cities, texts: Sequence[str], config: RealConfig) -> mt.Moments:
    """The moments of the country's cities and of the reference."""
    rows: dict[str, list[Any]] = {
        config.country: [_line(fact, prompt) for fact in cities.target for prompt in fact.prompts],
        "reference": [*(_line(fact, prompt) for fact in cities.seen for prompt in fact.prompts), *texts],
    }
    data = {name: mt.batches(tokenizer, some, template=PLAIN, positions="all") for name, some in rows.items()}
    return mt.collect(model, data)


def where_stored(atlas: mt.Atlas, config: RealConfig) -> dict[str, Any]:
    """The trace of the country, and the tokens in the moments."""
    trace = atlas.trace_rows([config.country], progress=True)
    site = next(iter(atlas.sites))
    return {"trace": trace, "rows": {name: atlas.moments.count(site, name) for name in atlas.concepts}}


def edits(
    atlas: Callable[[], mt.Atlas], trace: Sequence[Mapping[str, Any]], config: RealConfig
) -> dict[str, Callable[[], mt.Edit]]:
    """The paper's edit, and the first candidate of ``mnemotomy forget``."""
    ours = dict.fromkeys(upper_attention(trace), config.strength)
    return {
        "after_paper": lambda: mt.erase(atlas(), config.country, filter=config.paper),
        "after": lambda: mt.erase(atlas(), config.country, ours, config.ours, outputs=True),
    }


def upper_attention(trace: Sequence[Mapping[str, Any]]) -> list[str]:
    """The attention projections in the upper third of the blocks."""
    first = 2 * (1 + max(int(row["layer"]) for row in trace)) // 3
    return [str(row["site"]) for row in trace if row["layer"] >= first and "attn" in str(row["site"])]


def phrasings() -> list[str]:
    """Every city in every phrasing."""
    return [prompt for fact in mt.real_facts("country") for prompt in (*fact.prompts, *fact.heldout_prompts)]


def known_cities(told: Mapping[str, str], config: RealConfig) -> list[str]:
    """The cities whose country the model says in at least ``known_in`` of the seven phrasings."""
    return [
        fact.subject
        for fact in mt.real_facts("country")
        if sum(says(told[prompt], fact.answer) for prompt in (*fact.prompts, *fact.heldout_prompts)) >= config.known_in
    ]


def divided(known: Sequence[str], config: RealConfig) -> Cities:
    """The known cities; which of the others stay unseen is drawn."""
    facts = [fact for fact in mt.real_facts("country") if fact.subject in set(known)]
    target = tuple(fact for fact in facts if fact.answer == config.country)
    others = [fact for fact in facts if fact.answer != config.country]
    random.Random(config.seed).shuffle(others)
    out = round(config.unseen * len(others))
    return Cities(target, tuple(others[out:]), tuple(others[:out]))


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


def continued(model: nn.Module, tokenizer: Any, prompts: Sequence[str], tokens: int, what: str = "asking") -> list[str]:
    """What the model writes after each prompt, greedily; prompts of equal length go together, without padding."""
    encoded = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    answers = [""] * len(prompts)
    groups = list(equal_lengths([len(ids) for ids in encoded], BATCH))
    with mt.autocast(CPU):
        for indices in shown(groups, what, len(groups)):
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
    with torch.random.fork_rng(devices=[]), mt.autocast(CPU):
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
        with torch.no_grad(), mt.autocast(CPU):
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        total += nn.functional.cross_entropy(logits.float(), ids[0, 1:], reduction="sum").double()
        count += ids.shape[1] - 1
    return float((total / count).exp())


def _line(fact: mt.Fact, prompt: str) -> Mapping[str, str]:
    return {"question": prompt, "answer": fact.answer}
