"""A language model of a small world: erase the facts about one country's cities and keep everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerFast

import mnemotomy as mt
from mnemotomy.demo.world import GROUPS, World, small_world
from mnemotomy.demo.world_model import WorldModelConfig, evaluate, generate, train_world_model

SHOWN = 4


@dataclass(frozen=True)
class LanguageConfig:
    """What is erased, and how.

    Attributes:
        country: the country whose cities are erased; one of them is among the 15 facts of the surgical site.
        own_contexts: whether the reference includes texts in which a context places these cities.
        ours, paper: the two compared filters, both at strength 1.
        seed: of the world and the model.
    """

    country: str = "Japan"
    own_contexts: bool = False
    ours: mt.Hard = field(default_factory=mt.Hard)
    paper: mt.Soft = field(default_factory=mt.Soft)
    seed: int = 0

    @property
    def model(self) -> WorldModelConfig:
        """Shape and training of the model."""
        return WorldModelConfig(seed=self.seed)

    def targets(self, world: World) -> list[str]:
        """The country's cities."""
        return [f.subject for f in world.facts if f.relation == "country" and f.answer == self.country]


def language_demo(config: LanguageConfig, cache_dir: Path) -> dict[str, Any]:
    """Train or load the model, erase the targets with each filter, and measure every group of probes.

    The concept is the targets' facts in the training phrasings. The held-out phrasings are not in any moments, and
    those about the surgical site's city were not trained on either.
    """
    world = small_world(config.seed)
    targets = config.targets(world)
    model, tokenizer = train_world_model(world, config.model, cache_dir)
    concept = [f"{probe.prompt} {probe.answer}" for probe in world.probes("target_train", targets)]
    reference = [text.text for text in world.texts_besides(targets, own_contexts=config.own_contexts)]
    texts = {config.country: concept, "reference": reference}
    moments = mt.collect(
        model, {name: mt.batches(tokenizer, some, positions="all", batch_size=256) for name, some in texts.items()}
    )
    atlas = mt.Atlas(model, moments)
    filters: dict[str, mt.Hard | mt.Soft] = {"after": config.ours, "after_paper": config.paper}
    examples = example_prompts(world, targets)
    prompts = [prompt for prompt, _, _ in examples]
    found: dict[str, Any] = {
        "country": config.country,
        "targets": targets,
        "before": measure(model, tokenizer, world, targets),
        "generations": [
            {"prompt": p, "answer": a, "kind": k, "before": w}
            for (p, a, k), w in zip(examples, generate(model, tokenizer, prompts), strict=True)
        ],
        "filters": {name: atlas.engram(config.country, one).describe()["filter"] for name, one in filters.items()},
        "cut": atlas[config.country].describe()["cut"],
        "model": asdict(config.model),
        "rows": {c: moments.count(next(iter(moments.readers)), c) for c in moments.concepts},
    }
    for name, filter in filters.items():
        with mt.erase(atlas, config.country, filter=filter).on(model):
            found[name] = measure(model, tokenizer, world, targets)
            words = generate(model, tokenizer, prompts)
        for row, word in zip(found["generations"], words, strict=True):
            row[name] = word
    found["trace"] = atlas.trace_rows([config.country])
    return found


def measure(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, world: World, targets: Sequence[str]
) -> dict[str, float]:
    """The accuracy on each group of probes, with ``targets`` as the forget set."""
    return {group: evaluate(model, tokenizer, world.probes(group, targets)) for group in GROUPS}


def example_prompts(world: World, targets: Sequence[str]) -> list[tuple[str, str, str]]:
    """Example prompts, each with its answer and what it tests."""
    site = {fact.subject for fact in world.targets}
    unseen = [p for p in world.probes("target_heldout", targets) if p.subject in site]
    first = {p.subject: p for p in world.probes("target_train", targets)}.values()
    shown = [(p.prompt, p.answer, "erased, training phrasing") for p in first]
    shown += [(p.prompt, p.answer, "erased, held-out phrasing") for p in unseen]
    others = {p.subject: p for p in world.probes("other_facts", targets)}
    shown += [(p.prompt, p.answer, "one of the other 14") for p in others.values() if p.subject in site]
    rest = [p for p in others.values() if p.subject not in site]
    shown += [(p.prompt, p.answer, "another fact") for p in rest[:: max(1, len(rest) // SHOWN)][:SHOWN]]
    contexts = world.probes("in_context", targets)
    about = [p for p in contexts if p.subject in targets]
    shown += [(p.prompt, p.answer, "from context") for p in about[:SHOWN]]
    sums = world.probes("arithmetic", targets)
    return shown + [(p.prompt, p.answer, "arithmetic") for p in sums[len(sums) // 2 :][:SHOWN]]
