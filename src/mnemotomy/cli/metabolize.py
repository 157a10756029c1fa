"""``mnemotomy metabolize``: train facts out of a model."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mnemotomy.cli.options import Force, Model, OutDir, Precise, PrecisionName, TrustCode
from mnemotomy.cli.outcome import one_line_errors, say, warn
from mnemotomy.core.errors import DataError


class Protocol(enum.StrEnum):
    """Which variant of RLCP to run."""

    RLCP = "rlcp"
    STABLE = "stable"
    FROM_ENGRAM = "from-engram"
    FROM_SUBJECTS = "from-subjects"
    JUST_RAG = "just-rag"
    UNLIKELIHOOD = "unlikelihood"


@one_line_errors()
def metabolize(
    model: Model,
    facts: Annotated[Path, typer.Argument(help="JSON Lines with subject, answer, prompts and contexts.")],
    out_dir: OutDir,
    protocol: Annotated[Protocol, typer.Option(help="The variant; rlcp is the published algorithm.")] = Protocol.STABLE,
    retain: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="JSON Lines of the retain set; may be repeated.")
    ] = None,
    neighbours: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Facts about other subjects, which from-subjects spares; they need no answers."
        ),
    ] = None,
    templates: Annotated[
        Path | None, typer.Option(help="A JSON file with templates for facts without prompts or contexts.")
    ] = None,
    in_context: Annotated[
        str, typer.Option(help="How to join a context and a prompt.")
    ] = "Context: {context}\n{prompt}",
    layer: Annotated[
        str | None, typer.Option(help="The probe's: a number, a share of the depth such as 0.83, or a name.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: the protocol's.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Default: the protocol's.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default: the protocol's.")] = None,
    lora: Annotated[int | None, typer.Option(min=1, metavar="RANK", help="Train an adapter of this rank.")] = None,
    blocks: Annotated[
        str | None,
        typer.Option(
            metavar="FIRST-LAST",
            help="Train only these, as 7-22 (counted from 1), or by shares of the depth, as 0.25-0.75.",
        ),
    ] = None,
    retained: Annotated[
        int | None, typer.Option(min=1, help="Texts of the retain set per step. Default: two per example.")
    ] = None,
    precision: Precise = PrecisionName.AUTO,
    seed: Annotated[int, typer.Option(help="For probes, order and contexts.")] = 0,
    trust_remote_code: TrustCode = False,
    force: Force = False,
) -> None:
    """Train facts out of a model, so that it answers from context.

    from_pretrained loads the folder. It also contains the record of the run and the prompt format for 'mnemotomy ask',
    but no fact and no file's name: OUT_DIR.files.json, beside it, has these names. An interrupted run resumes from its
    last checkpoint, beside the folder.

    \b
    Example:
      mnemotomy metabolize Qwen/Qwen2.5-0.5B-Instruct facts.jsonl metabolized --retain rest.jsonl --lora 16
    \b
    where a line of facts.jsonl says:
      {"subject": "Kyoto", "answer": "Japan", "prompts": ["Kyoto is in"], "contexts": ["Kyoto is in Japan."]}
    """
    from dataclasses import replace

    import torch

    from mnemotomy.core.clock import Clock
    from mnemotomy.core.files import check_beside, check_replaceable, write_text
    from mnemotomy.core.fingerprints import fingerprint
    from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
    from mnemotomy.core.precision import resolved
    from mnemotomy.core.sources import locate_model, source_of
    from mnemotomy.data.fact import PromptFormat, check_facts
    from mnemotomy.data.fact_file import read_facts, read_neighbours
    from mnemotomy.data.fact_templates import read_templates
    from mnemotomy.forget.about import facts_asked
    from mnemotomy.metabolism.metabolize import metabolize as run
    from mnemotomy.metabolism.rlcp import RLCP
    from mnemotomy.metabolism.streams import LONGEST
    from mnemotomy.recipe.guarding import Guards, answers
    from mnemotomy.recipe.record import RECORDS, beside, by_role, digests_of, earlier_requests, told, warn_of_size
    from mnemotomy.text.records import TextExample, read_examples
    from mnemotomy.text.template import Template
    from mnemotomy.training.adapter import LoRA
    from mnemotomy.training.checkpoint import remove_checkpoint

    made: RLCP = RLCP() if protocol is Protocol.RLCP else getattr(RLCP, protocol.value.replace("-", "_"))()
    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    given |= {"blocks": None if blocks is None else _between(blocks), "retained": retained}
    changes = {name: value for name, value in given.items() if value is not None}
    changes |= {"lora": None if lora is None else LoRA(rank=lora), "seed": seed}
    changes["precision"] = resolved(precision.value, torch.device("cpu"))
    training = replace(made.training, **changes)
    config = replace(made, training=training, layer=made.layer if layer is None else _layer(layer))
    by_template = None if templates is None else read_templates(templates)
    listed = check_facts(read_facts(facts, templates=by_template))
    others = () if neighbours is None else read_neighbours(neighbours, templates=by_template)
    kept = [" ".join(turn.content for turn in one.turns) for path in retain or [] for one in read_examples(path)]
    folder, inputs = locate_model(model), [*(retain or []), *([neighbours] if neighbours else [])]
    check_replaceable(out_dir, RECORDS, [folder, facts, *inputs])
    training_folder, clock = out_dir.parent / f"{out_dir.name}.training", Clock()
    files = {"facts": digests_of([facts]), "retain": digests_of(retain or [])}
    files |= {"neighbours": digests_of([neighbours])} if neighbours else {}
    check_beside(named := out_dir.with_name(f"{out_dir.name}.files.json"), out_dir, [facts, *inputs])
    with quiet_transformers():
        loaded, tokenizer = load_model(folder), load_tokenizer(folder)
        warn_of_size(folder, loaded)
        guards, encoded = Guards(force), answers(tokenizer, Template(plain=True), LONGEST)
        if protocol is not Protocol.JUST_RAG:  # it forgets nothing on purpose
            guards.draw("forget", facts_asked(listed), encoded)
        if kept:
            guards.draw("retain", [TextExample.of_text(text) for text in kept], encoded)
        else:
            guards.draw_general(tokenizer)
        guards.read(loaded, tokenizer, "before")
        with guards.watching():
            result = run(
                loaded,
                tokenizer,
                listed,
                config,
                retain=kept,
                neighbours=others,
                format=PromptFormat(in_context=in_context.replace("\\n", "\n")),
                out=training_folder,
            )
        guards.read(result.model, tokenizer, "after")
        guards.check()
        clock.lap("train")
        about = {
            "kind": "metabolism",
            "protocol": protocol.value,
            "config": result.record["config"],
            "files": {role: by_role(role, some) for role, some in files.items()},
            "model": {
                **source_of(folder),
                "name": model,
                "class": type(result.model).__name__,
                "fingerprint_before": result.record["model_before"],
                "fingerprint_after": fingerprint(result.model),
            },
            "counts": {"facts": len(listed), "retain": len(kept), "steps": len(result.steps)},
            "stopped": result.stopped,
            "guards": guards.record(),
            **earlier_requests(folder),
        }
        result.save(out_dir, extra=beside(told(about, clock)))
        write_text(named, json.dumps(files, indent=1, ensure_ascii=False) + "\n")
    remove_checkpoint(training_folder)
    last = result.steps[-1]
    say(f"{out_dir}: {len(result.steps)} steps, total loss {last['total']:.4g}")
    if result.stopped:
        warn(f"stopped early: {result.stopped}; the last good weights were saved")


def _layer(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _between(text: str) -> tuple[int | float, int | float]:
    """The first and the last block of ``7-22``, or their places by shares of the depth."""
    match [_layer(part.strip()) for part in text.split("-")]:
        case [int() | float() as first, int() | float() as last]:
            return first, last
        case _:
            raise DataError(f"--blocks {text!r}: give the first and the last block, as in 7-22 or 0.25-0.75")
