"""``mnemotomy unlearn``: one of the published methods, or ours, on the user's own data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemotomy.cli.options import LARGEST_SEED
from mnemotomy.cli.outcome import one_line_errors
from mnemotomy.cli.templates import DATE, SYSTEM, TAGS
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.files import check_replaceable

if TYPE_CHECKING:
    from mnemotomy.methods.language.self_reference import SelfReference
    from mnemotomy.text.records import TextExample

RECORD = "unlearning.json"


@one_line_errors()
def unlearn(
    model: Annotated[str, typer.Argument(help="A local folder or a hub id.")],
    out_dir: Annotated[Path, typer.Argument(help="The folder to write; one that an earlier run wrote is replaced.")],
    method: Annotated[str, typer.Option(help="Its name, as 'mnemotomy methods' lists it.")],
    forget: Annotated[list[Path], typer.Option(metavar="FILE", help="A concept file; may be repeated.")],
    retain: Annotated[
        list[str],
        typer.Option(metavar="FILE|self:N", help="A concept file, or N texts of the model's own; may be repeated."),
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; may be repeated.")
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="The model before it learned what is to be forgotten, for methods that need it.")
    ] = None,
    opening: Annotated[
        str, typer.Option(help="Of the model's own texts: question, or answer for models that write no questions.")
    ] = "question",
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of whatever the method draws at random.")] = 0,
    system: Annotated[str | None, SYSTEM] = None,
    date: Annotated[str | None, DATE] = None,
    tags: Annotated[bool, TAGS] = False,
    device: Annotated[str, typer.Option(help="As cpu, cuda or cuda:1.")] = "cpu",
) -> None:
    """Make a language model forget what is in one file and keep what is in another.

    The files are JSON Lines as everywhere: 'text', 'question' with 'answer', or 'messages'; TOFU's are such. The
    folder loads with from_pretrained; its README.md says what was done.

    \b
    Example:
      mnemotomy unlearn full --method npo --forget forget.jsonl --retain retain.jsonl unlearned --set epochs=5
      mnemotomy unlearn full --method engram-projector --forget forget.jsonl --retain self:2000 unlearned
    """
    import json

    from mnemotomy.cli.settings import configured
    from mnemotomy.core.fingerprints import fingerprint, tokenizer_digest
    from mnemotomy.core.keys import file_digest
    from mnemotomy.core.models import load_model, load_tokenizer, locate_model, quiet_transformers, save_model
    from mnemotomy.core.version import versions
    from mnemotomy.methods.language.problem import TextProblem
    from mnemotomy.methods.language.self_reference import write_reference
    from mnemotomy.methods.registry import method_named
    from mnemotomy.report.unlearning_card import unlearning_card
    from mnemotomy.text.template import check_template, template_for

    made = configured(method_named("language models", method), set_ or [])
    if "pretrained" in made.needs and pretrained is None:
        raise ConfigurationError(f"{method} needs the model before it learned: give --pretrained FOLDER")
    folder = locate_model(model)
    before = None if pretrained is None else locate_model(pretrained)
    written = _written(retain, opening, seed)
    files = [Path(source) for source in retain if source not in written]
    examples, kept = _read(forget), _read(files)
    check_replaceable(out_dir, RECORD, [*forget, *files, folder, *([] if before is None else [before])])
    with quiet_transformers():
        tokenizer = load_tokenizer(folder)
        template = template_for(tokenizer, folder, system, date)
        if tags or written or any(one.form == "question" for one in [*examples, *kept]):
            check_template(tokenizer, folder, tags)
        loaded = load_model(folder, device=device)
        base = None if before is None else load_model(before, device=device)
        if before is not None and tokenizer_digest(load_tokenizer(before)) != tokenizer_digest(tokenizer):
            raise ConfigurationError(
                f"the tokenizers of {folder} and {before} differ; give the model that it was before"
            )
        for how in written.values():
            kept += write_reference(loaded, tokenizer, how, template)
        problem = TextProblem(loaded, tokenizer, examples, kept, template, base, seed)
        treated = made(problem)
        record: dict[str, Any] = {
            "model": {
                "name": model,
                "class": type(loaded).__name__,
                "fingerprint_before": fingerprint(loaded),
                "fingerprint_after": fingerprint(treated),
                "pretrained": pretrained,
            },
            "method": {"name": made.name, "title": made.title, "paper": made.paper, "family": made.family},
            "settings": _described(made),
            "forget": {"files": {str(path): file_digest(path) for path in forget}, "examples": len(examples)},
            "retain": {
                "files": {str(path): file_digest(path) for path in files} | dict.fromkeys(written),
                "written": {name: vars(how) for name, how in written.items()},
                "examples": len(kept),
            },
            "template": vars(template),
            "seed": seed,
            "versions": versions(),
        }
        extra = {"README.md": unlearning_card(record), RECORD: json.dumps(record, indent=2, ensure_ascii=False) + "\n"}
        save_model(treated, out_dir, tokenizer=tokenizer, extra=extra)
    typer.echo(f"{out_dir}: {made.title} forgot {len(examples)} examples and was given {len(kept)} to keep")


def _read(files: list[Path]) -> list[TextExample]:
    from mnemotomy.text.records import read_examples

    return [one for file in files for one in read_examples(file)]


def _written(sources: list[str], opening: str, seed: int) -> dict[str, SelfReference]:
    """The sources that ask for texts of the model's own, before any work is done.

    Raises:
        ConfigurationError: a number of texts is none, or the opening is unknown.
    """
    from mnemotomy.methods.language.self_reference import self_reference_of

    found = {source: self_reference_of(source) for source in sources}
    return {name: replace(how, opening=opening, seed=seed) for name, how in found.items() if how is not None}  # type: ignore[arg-type]


def _described(method: Any) -> dict[str, Any]:
    import json
    from dataclasses import asdict

    return dict(json.loads(json.dumps(asdict(method), default=str)))
