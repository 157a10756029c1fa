"""``mnemotomy audit``: whether a model has forgotten, hides, or still says it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemotomy.cli.options import LARGEST_SEED, Device, Precise, PrecisionName, TrustCode
from mnemotomy.cli.outcome import console, emit_json, json_option, one_line_errors, say
from mnemotomy.cli.templates import USUAL, with_template
from mnemotomy.text.template import TemplateSettings

if TYPE_CHECKING:
    from mnemotomy.audit.report import Report


@one_line_errors()
@with_template
def audit(
    before: Annotated[str, typer.Argument(help="The model before forgetting: a folder, a .gguf file, or a hub id.")],
    after: Annotated[str, typer.Argument(help="The model under audit, or an edit file of the first.")],
    out: Annotated[Path, typer.Argument(help="The folder for the report and all readings; a later run resumes.")],
    forget: Annotated[
        Path | None, typer.Option(help="What was to be forgotten: questions with answers, or texts; or images.")
    ] = None,
    forget_label: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="A classifier's class, with its images in --retain.")
    ] = None,
    retain: Annotated[
        Path | None, typer.Option(help="What was to be kept, best of what the edit has not read.")
    ] = None,
    holdout: Annotated[Path | None, typer.Option(help="Like the forget set, but no model has learned it.")] = None,
    gold: Annotated[str | None, typer.Option(help="A model that never learned the forget set.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="asking, inside, membership, relearn, damage, or an attack; repeatable."),
    ] = None,
    tasks: Annotated[list[str] | None, typer.Option(help="A task of lm-eval, for the damage; repeatable.")] = None,
    fluency: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="What judges fluency in place of BEFORE: a language model, or a classifier of gibberish.",
        ),
    ] = None,
    earlier: Annotated[
        list[Path] | None, typer.Option(help="The forget set of an earlier request; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="For everything drawn at random.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="The most rows in a batch.")] = 32,
    precision: Precise = PrecisionName.AUTO,
    template: TemplateSettings = USUAL,
    device: Device = "cpu",
    trust_remote_code: TrustCode = False,
    json_: Annotated[str | None, json_option("the report")] = None,
) -> None:
    """Attack a claim of forgetting, and measure the damage.

    The verdict is one of: not forgotten, hidden, forgotten here, as never known. OUT gets audit.html, audit.json and
    deletion-report.md. For image classifiers, the sets are folders of images by class, or parquet files.

    \b
    Example:
      mnemotomy audit MODEL edit.safetensors audit --forget forget.jsonl --retain retain.jsonl
      mnemotomy audit MODEL FORGOTTEN audit --forget forget.jsonl --holdout unseen.jsonl --only asking --only damage
      mnemotomy audit CLASSIFIER FORGOTTEN audit --forget photos/tabby --retain photos/rest --holdout unseen
    """
    from datetime import UTC, datetime
    from functools import partial

    from mnemotomy.audit.options import AuditOptions
    from mnemotomy.audit.run import audit as run
    from mnemotomy.cli.images import check_no_text_options, pictures, pictures_to_forget, without
    from mnemotomy.core.errors import DataError
    from mnemotomy.core.files import check_above, check_name
    from mnemotomy.core.gguf import is_gguf
    from mnemotomy.core.image_models import is_image_classifier, load_image_processor
    from mnemotomy.core.keys import path_digest
    from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
    from mnemotomy.core.sources import locate_model
    from mnemotomy.data.images import check_source
    from mnemotomy.engram.edit import Edit
    from mnemotomy.text.records import read_examples
    from mnemotomy.text.template import check_template

    check_above(out)
    check_name(out)
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; name a folder")
    if (out / "config.json").exists():
        raise DataError(f"{out} is a model; name another folder for the report")
    _check_own(out, before, after)
    files = {"forget": forget, "retain": retain, "holdout": holdout}
    files |= {f"earlier forget, {number},": file for number, file in enumerate(earlier or (), start=1)}
    source = locate_model(before)
    images = is_image_classifier(source)
    for file in files.values():
        if file is not None and not images:
            read_examples(file)  # a wrong file is said before the models load
        elif file is not None:
            check_source(file)
    about: dict[str, Any] = {"asked on": datetime.now(UTC).date().isoformat(), "before": before, "after": after}
    named = {"before": before, "after": after, "gold": gold}
    about |= {} if gold is None else {"gold": gold}
    about |= {
        f"{role}, full path": str(Path(name).resolve()) for role, name in named.items() if name and Path(name).exists()
    }
    about |= {
        f"{name} file": f"{file}, SHA-256 {path_digest(file)}" for name, file in files.items() if file is not None
    }
    if images:
        texts = {f"--{name}": value for name, value in asdict(template).items()}
        check_no_text_options({**texts, "--tasks": tasks, "--fluency": fluency}, source)
        if retain is None or bool(forget) == bool(forget_label):
            raise DataError("a classifier needs --retain, and one of --forget FOLDER and --forget-label CLASS")
        about |= {} if forget_label is None else {"classes": ", ".join(forget_label)}
    elif forget_label:
        raise DataError(f"--forget-label is for image classifiers, and {source} is not one; give --forget FILE")
    elif forget is None:
        raise DataError("say what was to be forgotten: --forget FILE")
    options = AuditOptions(
        only or AuditOptions().parts,
        tasks or (),
        template.made,
        seed,
        batch_size,
        precision.value,
        out,
        about=about,
        fluency=None if fluency is None else locate_model(fluency),
        say=partial(say, err=True),
    )
    options.chosen("classifiers" if images else "language models")
    asked: Any = forget
    kept: Any = retain
    unseen: Any = holdout
    with quiet_transformers():
        tokenizer = load_image_processor(source) if images else load_tokenizer(source)
        if not images:
            check_template(tokenizer, source, template.tags, template.made)
        model = load_model(source, device=device)
        edited: Any
        if Path(after).is_file() and not is_gguf(after):
            edited, own = Edit.load(after), None
        else:
            folder = locate_model(after)
            edited, own = load_model(folder, device=device), None if images else load_tokenizer(folder)
        if images and retain is not None:
            asked, kept = pictures_to_forget(model, [forget] if forget else None, forget_label, [retain])
            if holdout is not None:
                unseen = pictures(model, [holdout])
                kept = without(kept, unseen, "--holdout")
        report = run(
            model,
            edited,
            tokenizer,
            asked,
            kept,
            unseen,
            None if gold is None else load_model(locate_model(gold), device=device),
            earlier={str(file): file for file in earlier or ()},
            after_tokenizer=own,
            options=options,
        )
    report.save(out)
    if json_ is not None:
        emit_json(report.json(), json_)
    if json_ == "-":
        return
    shown(report, out)


def _check_own(out: Path, before: str, after: str) -> None:
    """Refuse a folder with the report on other models, which would be lost.

    Raises:
        DataError: it is said which.
    """
    from mnemotomy.core.errors import DataError
    from mnemotomy.core.json_text import read_json

    try:
        about = read_json((out / "audit.json").read_text(encoding="utf-8"))["record"]["about"]
        found = (str(about["before"]), str(about["after"]))
    except (OSError, ValueError, TypeError, KeyError):
        return
    if found != (before, after):
        raise DataError(f"{out} has the report on {' and '.join(found)}; name another folder")


def shown(report: Report, out: Path) -> None:
    """Print what an audit found, the verdict on a line of its own."""
    report.table().print(console())
    for finding in report.findings:
        say(finding.sentence)
    for sentence in report.past:
        say(sentence)
    for note in report.notes:
        say(f"mnemotomy: {note}", err=True)
    say(report.verdict.line)
    say(report.verdict.reason)
    say(report.verdict.damage)
    say(report.verdict.to_do)
    say(f"{out}: audit.html, audit.json, deletion-report.md")
