"""``mnemotomy collect``: the second moments of each concept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.options import Device, Model, PositionsName, Resume, TrustCode, blocks, concept_files, selector
from mnemotomy.cli.outcome import one_line_errors, say, warn
from mnemotomy.cli.templates import USUAL, with_template
from mnemotomy.text.template import TemplateSettings


@one_line_errors()
@with_template
def collect(
    model: Model,
    concept: Annotated[
        list[str], typer.Option(metavar="NAME=FILE", help="A concept and its JSON Lines file; may be repeated.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The moments file to write.")],
    reference: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="JSON Lines of everything else, such as the retain set; may be repeated."),
    ] = None,
    sites: Annotated[
        str, typer.Option(help="all-linear, output-head, all, names separated by commas, or a regular expression.")
    ] = "all-linear",
    layers: Annotated[str | None, typer.Option(help="Only these blocks, as in 0-3,7.")] = None,
    positions: Annotated[
        PositionsName,
        typer.Option(help="The tokens that count: the answer's, those that predict it and its end, or all."),
    ] = PositionsName.ANSWER,
    template: TemplateSettings = USUAL,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a forward pass.")] = 32,
    max_length: Annotated[int, typer.Option(min=1, help="The most tokens of an example; the rest is cut off.")] = 512,
    dtype: Annotated[str, typer.Option(help="The model's: float32, bfloat16, float16 or float64.")] = "float32",
    device: Device = "cpu",
    trust_remote_code: TrustCode = False,
    resume: Resume = True,
) -> None:
    """Read the examples of each concept, for 'trace' and for edits.

    Their second moments at each site are saved. Each example takes one forward pass. A line of a concept file is a JSON
    object with 'text', with 'question' and 'answer', or with 'messages'. By default only the text, the answer, and the
    assistant's turns count.

    \b
    Example:
      mnemotomy collect Qwen/Qwen3-0.6B --concept alice=alice.jsonl --concept bob=bob.jsonl \\
        --reference rest.jsonl -o moments.safetensors
    """
    files, chosen, only = concept_files(concept, reference or []), selector(sites), blocks(layers)
    from mnemotomy.core.files import check_file, check_no_input
    from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
    from mnemotomy.core.sources import locate_model
    from mnemotomy.engram.guards import reference_concerns
    from mnemotomy.recipe.collecting import Reading, check_writable, collect_files, remove_checkpoints
    from mnemotomy.text.records import REFERENCE

    folder = locate_model(model)
    check_file(output)
    check_no_input(output, [folder, *(file for paths in files.values() for file in paths)])
    check_writable(output)
    with quiet_transformers():
        loaded = load_model(folder, dtype=dtype, device=device)
        tokenizer = load_tokenizer(folder)
    reading = Reading(chosen, only, positions.value, template.made, template.tags, batch_size, max_length, resume)
    concerns: list[str] = []

    def tell(concern: str) -> None:
        concerns.append(concern)
        warn(concern)

    moments, tokens = collect_files(loaded, tokenizer, files, reading, output, tell)
    moments.save(output)
    remove_checkpoints(output)
    for name, examples in moments.origin.examples.items():
        say(f"{name}: {examples} examples, {tokens[name]} tokens")
    say(f"{output}: {len(moments.readers)} sites, {len(moments.statistics)} distinct inputs")
    if not concerns:  # of experts, which only some tokens reach
        for concern in reference_concerns(moments, REFERENCE):
            warn(concern)
