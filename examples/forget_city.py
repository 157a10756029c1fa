"""Forget where Kyoto is: the demo's small language model, the paper's filter beside the projector on mu > 0.5.

Trains the model first (about a minute), or reads it from the cache of an earlier run:

    .venv/bin/python examples/forget_city.py
"""

import mnemotomy as mt
from mnemotomy.demo.language import LanguageConfig, measure
from mnemotomy.demo.world import small_world
from mnemotomy.demo.world_model import generate, train_world_model

world = small_world()
model, tokenizer = train_world_model(world, LanguageConfig().model, "runs/demo/models")

about = [f"{probe.prompt} {probe.answer}" for probe in world.probes("target_train", "Kyoto")]
besides = [text.text for text in world.texts_besides("Kyoto", own_contexts=False)]
batches = {name: mt.batches(tokenizer, texts) for name, texts in (("Kyoto", about), ("rest", besides))}
atlas = mt.Atlas(model, mt.collect(model, batches))

table = atlas.trace(["Kyoto"]).sort_values("weight_norm", ascending=False)
print(table[["site", "weight_norm", "degrees_of_freedom", "share"]].head(5).to_string(index=False))

prompts = [probe.prompt for probe in world.probes("target_heldout", "Kyoto")]
print("before:", measure(model, tokenizer, world, ["Kyoto"]))
for filter in (mt.Soft(), mt.Hard(0.5)):
    with mt.erase(atlas, "Kyoto", filter=filter).on(model):
        print(filter, measure(model, tokenizer, world, ["Kyoto"]))
        print(dict(zip(prompts, generate(model, tokenizer, prompts), strict=True)))
