"""Forget where Kyoto is: the demo's language model, the paper's filter beside the projector on mu > 0.5.

Run after `make demo`, which trains and caches the model:

    .venv/bin/python examples/forget_city.py
"""

import mnemotomy as mt
from mnemotomy.demo.language import LanguageConfig, measure, text_batches
from mnemotomy.demo.world import small_world
from mnemotomy.demo.world_model import generate, train_world_model

world = small_world()
model, tokenizer = train_world_model(world, LanguageConfig().model, "runs/demo/models")

about = [text.text for text in world.texts_about("Kyoto")]
besides = [text.text for text in world.texts_besides("Kyoto", own_contexts=False)]
moments = mt.collect(model, {"Kyoto": text_batches(about, tokenizer), "rest": text_batches(besides, tokenizer)})
atlas = mt.Atlas(model, moments)

table = atlas.trace(["Kyoto"]).sort_values("weight_norm", ascending=False)
print(table[["site", "weight_norm", "degrees_of_freedom", "share"]].head(5).to_string(index=False))

prompts = [probe.prompt for probe in world.probes("target_heldout", "Kyoto")]
print("before:", measure(model, tokenizer, world, ["Kyoto"]))
for filter in (mt.Soft(), mt.Hard(0.5)):
    with mt.erase(atlas, "Kyoto", filter=filter).on(model):
        print(filter, measure(model, tokenizer, world, ["Kyoto"]))
        print(dict(zip(prompts, generate(model, tokenizer, prompts), strict=True)))
