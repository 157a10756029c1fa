"""``mnemotomy ask``: ask a model that reads a store of facts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnemotomy.cli.facts import hit_line, hit_record
from mnemotomy.cli.options import Device, Model, TrustCode
from mnemotomy.cli.outcome import emit_json, json_option, one_line_errors, say

if TYPE_CHECKING:
    from mnemotomy.data.fact import PromptFormat


@one_line_errors()
def ask(
    model: Model,
    store: Annotated[Path, typer.Argument(help="The file of the fact store.")],
    question: Annotated[str, typer.Argument(help="The question.")],
    in_context: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="How to join facts and question, with {context} and {prompt}; default: the model's own.",
        ),
    ] = None,
    facts: Annotated[int, typer.Option(min=1, help="The most facts that the model reads.")] = 1,
    threshold: Annotated[
        float | None, typer.Option(help="The least relevance of a fact; default: calibrated on the store.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The most tokens of the answer.")] = 16,
    chat: Annotated[
        bool, typer.Option("--chat", help="Ask through the tokenizer's chat template, as 'mnemotomy chat' does.")
    ] = False,
    dtype: Annotated[str, typer.Option(help="The model's: float32, bfloat16, float16 or float64.")] = "float32",
    device: Device = "cpu",
    trust_remote_code: TrustCode = False,
    json_: Annotated[str | None, json_option("the answer")] = None,
) -> None:
    """Answer a question from a store of facts, and show the facts.

    If no fact is relevant, the answer is "I do not know." and the model does not run. Relevance compares words: a fact
    about another side of the same subject can have 1.00. Without --chat, the answer ends with its first line or
    sentence; --json has all that the model wrote, as 'written'.

    \b
    Example:
      mnemotomy ask runs/metabolized facts.db "In which country is Kyoto?"
    """
    from mnemotomy.audit.judging import said
    from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
    from mnemotomy.core.sources import locate_model
    from mnemotomy.store.fact_store import FactStore
    from mnemotomy.store.reader import Reader, answer_alone

    with FactStore(store, create=False) as opened:
        folder = locate_model(model)
        format = _format(Path(folder), in_context)
        with quiet_transformers():
            loaded = load_model(folder, dtype=dtype, device=device)
            tokenizer = load_tokenizer(folder)
        reader = Reader(
            loaded,
            tokenizer,
            opened,
            format=format,
            facts_per_question=facts,
            threshold=threshold,
            max_new_tokens=max_new_tokens,
            chat=chat,
        )
        answer, size = reader.ask(question), len(opened)
    shown = answer.text if chat else answer_alone(answer.text)
    cut = answer.cut and shown == answer.text
    if json_ is not None:
        record = {"answer": shown, "known": answer.known, "cut": cut, "threshold": answer.threshold}
        record |= {"facts": [hit_record(hit) for hit in answer.hits]}
        record |= {"nearest": hit_record(answer.nearest) if answer.nearest else None}
        emit_json({**record, "prompt": answer.prompt, "written": answer.text}, json_)
    if json_ != "-":
        say(f"{shown} …" if cut else shown)
        if cut:
            say(f"cut after {max_new_tokens} tokens; give --max-new-tokens {4 * max_new_tokens} to read on")
        if answer.nearest:
            say(f"no fact reaches the relevance of {answer.threshold:.2f}; the nearest is {hit_line(answer.nearest)}")
        elif not answer.known:
            say("no fact in the store shares a word with the question" if size else "the store is empty")
        for hit in answer.hits:  # a relevant fact need not be the one that was asked for
            read = "from" if said(hit.fact.answer, answer.text, question) >= 1.0 else "read, but not said:"
            say(f"{read} {hit_line(hit)}")


def _format(folder: Path, in_context: str | None) -> PromptFormat:
    """The prompt format in the model's folder, or the default; ``in_context`` replaces its template."""
    from dataclasses import replace

    from mnemotomy.data.fact import PromptFormat
    from mnemotomy.data.fact_file import read_format

    format = read_format(folder) or PromptFormat()
    return format if in_context is None else replace(format, in_context=in_context.replace("\\n", "\n"))
