"""The small world's associations as facts with prompts and contexts, for training and for the store."""

from __future__ import annotations

from collections.abc import Sequence

from mnemotomy.data.fact import Fact, PromptFormat
from mnemotomy.demo.world import Association, World

WORLD_FORMAT = PromptFormat(in_context="context : {context} . {prompt}", separator=" ")
"""How the world's texts place a context before a question."""


def world_facts(world: World, associations: Sequence[Association] | None = None) -> tuple[Fact, ...]:
    """The associations (the 15 targets by default) with the world's phrasings: trained ones, and those held out."""
    chosen = world.targets if associations is None else associations
    statements = [p.text for p in world.phrasings if (p.relation, p.split) == ("context", "statement")]
    found = []
    for one in chosen:
        phrasings = [p for p in world.phrasings if p.relation == one.relation]
        contexts = statements if one.relation == "country" else [p.text for p in phrasings if p.split == "train"][:1]
        found.append(
            Fact(
                subject=one.subject,
                answer=one.answer,
                prompts=tuple(one.ask(p.text) for p in phrasings if p.split == "train"),
                heldout_prompts=tuple(one.ask(p.text) for p in phrasings if p.split == "heldout"),
                contexts=tuple(text.format(subject=one.subject, answer=one.answer) for text in contexts),
                relation=one.relation,
            )
        )
    return tuple(found)
