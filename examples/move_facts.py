"""Fifteen facts moved out of a small language model into a store: what it says before, after, and after a change.

Trains the model first (about a minute), or reads it from the cache of an earlier run; metabolising takes two more:

    .venv/bin/python examples/move_facts.py
"""

from pathlib import Path

import mnemotomy as mt
from mnemotomy.demo.world import small_world
from mnemotomy.demo.world_model import WorldModelConfig, train_world_model

WORLD_FORMAT = mt.PromptFormat(in_context="context : {context} . {prompt}", separator=" ")
QUESTION = "question : in which country is Kyoto ? answer :"

world = small_world()
model, tokenizer = train_world_model(world, WorldModelConfig(), Path("runs/demo/models"))
said = {
    split: [one.text for one in world.phrasings if one.split == split and one.relation == relation]
    for split, relation in (("train", "country"), ("heldout", "country"), ("statement", "context"))
}
facts = [
    mt.Fact(
        subject=one.subject,
        answer=one.answer,
        prompts=tuple(map(one.ask, said["train"])),
        heldout_prompts=tuple(map(one.ask, said["heldout"])),
        contexts=tuple(text.format(subject=one.subject, answer=one.answer) for text in said["statement"]),
        relation=one.relation,
    )
    for one in world.targets
]
retain = [text.text for text in world.texts_besides([fact.subject for fact in facts], own_contexts=False)]

with mt.FactStore("runs/facts.db") as store:
    store.add(facts)
    before = mt.Reader(model, tokenizer, store, format=WORLD_FORMAT, max_new_tokens=1)
    print("by itself, before:", before.recall(QUESTION))

    result = mt.metabolize(model, tokenizer, facts, mt.RLCP.stable(), retain=retain, format=WORLD_FORMAT)
    reader = mt.Reader(result.model, tokenizer, store, format=WORLD_FORMAT, max_new_tokens=1)
    print("by itself, after: ", reader.recall(QUESTION))
    print("with the store:   ", reader.ask(QUESTION).text)

    kyoto = next(fact for fact in facts if fact.subject == "Kyoto")
    store.update(kyoto.saying("Peru"))
    print("after a change:   ", reader.ask(QUESTION).text)
    store.delete("Kyoto", "country")
    print("after deletion:   ", reader.ask(QUESTION).text)
