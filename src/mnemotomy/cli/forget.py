"""``mnemotomy forget``: take something out of a language model or an image classifier in one command."""

from __future__ import annotations

import contextlib
import enum
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from mnemotomy.cli.options import LARGEST_SEED, Device, Model, OutDir, PositionsName, TrustCode, blocks, selector
from mnemotomy.cli.outcome import emit_json, json_option, one_line_errors, say
from mnemotomy.cli.templates import USUAL, with_template
from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.text.template import TemplateSettings


class As(enum.StrEnum):
    """What is saved."""

    MODEL = "model"
    LORA = "lora"
    EDIT = "edit"


@one_line_errors()
@with_template
def forget(
    model: Model,
    out: OutDir,
    forget: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="What to forget; may be repeated.")] = None,
    forget_label: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Forget a classifier's class, with its images in --retain."),
    ] = None,
    retain: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="What to keep; default: what the model itself writes.")
    ] = None,
    neighbours: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Facts about other subjects, which edits at the subjects spare; no answers."),
    ] = None,
    about: Annotated[str | None, typer.Option(metavar="NAME", help="Forget what the model says about a name.")] = None,
    facts: Annotated[Path | None, typer.Option(metavar="STORE", help="Forget facts of a store.")] = None,
    subject: Annotated[list[str] | None, typer.Option(help="Only the facts about this; may be repeated.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Candidates to try; a longer search resumes a shorter one.")] = 24,
    two_sided: Annotated[
        bool | None, typer.Option("--two-sided/--no-two-sided", help="Try the two-sided edit; default: small models.")
    ] = None,
    as_: Annotated[
        As, typer.Option("--as", help="Save a model folder, an adapter of PEFT, or the edit alone.")
    ] = As.MODEL,
    rank: Annotated[int | None, typer.Option(min=1, help="The adapter's; default: within 5 % of the edit.")] = None,
    sites: Annotated[
        str | None, typer.Option(help="The projections to edit; see 'mnemotomy collect --help'. Default: all-linear.")
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Only these blocks, as 0-3,7.")] = None,
    positions: Annotated[PositionsName, typer.Option(help="The tokens that enter the moments.")] = PositionsName.ALL,
    dtype: Annotated[str, typer.Option(help="The model's in memory.")] = "float32",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Save the best candidate without asking.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Save the result even where it ruins the model.")] = False,
    push: Annotated[str | None, typer.Option(metavar="REPO", help="Upload the result to the hub.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="For everything drawn at random.")] = 0,
    template: TemplateSettings = USUAL,
    device: Device = "cpu",
    trust_remote_code: TrustCode = False,
    json_: Annotated[str | None, json_option("the record")] = None,
) -> None:
    """Make a model forget something, by the best of many edits.

    The model writes text or classifies images. What to forget is a JSON Lines file with 'question' and 'answer', with
    'text', or with 'messages', and best with the 'subject' that each line names; a name that the model is asked about;
    or facts of a store. For an image classifier, it is a folder of images by class, a parquet file, or a class, and
    --retain has images of the others. Each candidate is tried on the model in place and undone. The trials are kept
    beside OUT: after Ctrl-C, the same command resumes.

    \b
    Example:
      mnemotomy forget Qwen/Qwen3-0.6B forgotten --forget alice.jsonl
      mnemotomy forget Qwen/Qwen3-0.6B forgotten --forget alice.jsonl --retain colleagues.jsonl --as lora --yes
      mnemotomy forget Qwen/Qwen3-0.6B forgotten --about "Harry Potter"
      mnemotomy forget google/vit-base-patch16-224 forgotten --forget-label tabby --retain photos
      mnemotomy audit Qwen/Qwen3-0.6B forgotten audit --forget alice.jsonl
    """
    from mnemotomy.cli.forget_session import Session, check_repository
    from mnemotomy.cli.images import check_no_text_options, pictures_to_forget
    from mnemotomy.core.files import check_beside, check_file, check_no_input, check_replaceable
    from mnemotomy.core.image_models import is_image_classifier, load_image_processor
    from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers, trusting_code
    from mnemotomy.core.sources import locate_model
    from mnemotomy.data.fact_file import read_neighbours
    from mnemotomy.forget.cost import cost_of, cost_of_images
    from mnemotomy.forget.forgetting import tokens_to_write
    from mnemotomy.forget.found import FORGET, RETAIN
    from mnemotomy.forget.knowledge import answers_known, unknown_concern
    from mnemotomy.forget.options import ForgetOptions
    from mnemotomy.forget.subjects import names_of, sites_at_subjects
    from mnemotomy.recipe.collecting import check_writable
    from mnemotomy.recipe.forgotten import kept_apart_beside, written_beside
    from mnemotomy.recipe.record import RECORDS, digests_of, earlier_requests
    from mnemotomy.report.model_card import request_name
    from mnemotomy.text.template import check_template

    folder, only = locate_model(model), blocks(layers)
    chosen = None if sites is None else selector(sites)
    images = is_image_classifier(folder)
    if images:
        given = {"--about": about, "--facts": facts, "--neighbours": neighbours, "--subject": subject,
                 "--as lora": as_ is As.LORA or rank,
                 **{f"--{name}": value for name, value in asdict(template).items()}}  # fmt: skip
        check_no_text_options(given, folder)
        if bool(forget) == bool(forget_label):
            raise DataError("say what to forget by one of --forget FOLDER and --forget-label CLASS")
        if not retain:
            raise DataError("a classifier needs --retain: images of its other classes, best of those most alike")
    elif forget_label:
        raise DataError(f"--forget-label is for image classifiers, and {folder} is not one; give --forget FILE")
    elif sum(map(bool, (forget, about is not None, facts))) != 1:
        raise DataError("say what to forget by one of --forget FILE, --about NAME and --facts STORE")
    if subject and facts is None:
        raise DataError("--subject chooses among the facts of a store; give --facts STORE too")
    if rank is not None and as_ is not As.LORA:
        raise ConfigurationError("--rank is for an adapter; give --as lora too")
    if push is not None:
        check_repository(push)
    inputs = [*(forget or []), *(retain or []), *(file for file in (facts, neighbours) if file)]
    besides = [kept_apart_beside(out)]
    if as_ is As.EDIT:
        check_file(out)
        check_no_input(out, [folder, *inputs])
    else:
        check_replaceable(out, RECORDS, [*inputs, folder], also=("adapter_config.json", "retain.jsonl"))
        besides += written_beside(out)
    for file in besides:
        check_beside(file, out, inputs)
    check_writable(out)
    spared: Any = () if neighbours is None else read_neighbours(neighbours)
    around = replace(template, plain=template.plain or facts is not None).made
    examples: Any
    kept: Any = None if images else _read(retain)
    with quiet_transformers(), trusting_code(trust_remote_code):
        loaded = load_model(folder, dtype=dtype, device=device)
        tokenizer = load_image_processor(folder) if images else load_tokenizer(folder)
    if images:
        examples, kept = pictures_to_forget(loaded, forget, forget_label, retain or [])
    else:
        check_template(tokenizer, folder, template.tags, around)
        examples = _what(forget, about, facts, subject, loaded, tokenizer, around)
        if not forget:
            forget = [_write_beside(out, examples)]
    options = ForgetOptions(
        trials, chosen, only, positions.value, around, two_sided=two_sided, seed=seed, study=_study(out)
    )
    if images:
        also = options.tries_two_sided(loaded, images=True)
        cost = cost_of_images(loaded, tokenizer, examples, kept, chosen, only, trials, two_sided=also)
    else:
        everywhere = "all-linear" if chosen is None else chosen
        names, _ = sites_at_subjects(loaded, examples, kept or [], everywhere, only, names_of(spared))
        if not force and (unknown := unknown_concern(loaded, tokenizer, examples, around, seed)):
            raise DataError(f"{unknown}. To search all the same, give --force")
        tokens = sum(len(tokenizer(turn.content)["input_ids"]) for one in examples for turn in one.turns)
        cost = cost_of(
            loaded,
            tokens,
            everywhere,
            only,
            trials,
            examples=len(examples),
            two_sided=options.tries_two_sided(loaded),
            written=round(tokens_to_write(loaded, tokenizer, tokens / len(examples), kept or [], options)),
            subjects=names,
        )
        if told := answers_known(loaded, tokenizer, examples, around, seed):
            say(told, err=True)
    if before := earlier_requests(folder).get("earlier"):
        say(
            f"requests before this one: {'; '.join(map(request_name, before))}. Costs add up: audit the result against "
            "the first model, with --earlier for each",
            err=True,
        )
    say(f"{len(examples)} examples to forget; the search takes {cost}", err=True)
    cost.check()
    named = {"about": about, "subjects": subject, "labels": forget_label}
    asked = {name: value for name, value in named.items() if value}
    files = {
        FORGET: digests_of(forget or []),
        "facts": digests_of([facts] if facts else []),
        RETAIN: digests_of(retain or []),
        **({"neighbours": digests_of([neighbours])} if neighbours else {}),
    }
    session = Session(
        loaded,
        tokenizer,
        out,
        {"source": folder, "files": files, "asked": asked},
        examples,
        kept,
        options,
        as_.value,
        rank,
        push,
        force,
        spared,
    )
    with quiet_transformers():
        session.search()
        if not yes and sys.stdin.isatty() and sys.stdout.isatty() and json_ != "-":
            session.ask()
        else:
            if force:  # else the error says it
                session.warn()
            session.save()
    if json_ is not None and session.record is not None:
        emit_json(session.record, json_)


def _study(out: Path) -> Path:
    """The file of the trials, beside the output.

    Raises:
        DataError: what is there is no database.
    """
    import sqlite3

    path = out.parent / f".{out.name}.study.db"
    if path.exists():
        try:
            with contextlib.closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA schema_version").fetchone()
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{path}: the trials of an earlier search are damaged ({error}); remove the file"
            ) from error
    return path


def _write_beside(out: Path, examples: Any) -> Path:
    """Write the forget set to a file, for the audit and the recipe; not into the result, which is given away.

    Raises:
        DataError: there is a file with other examples.
    """
    from mnemotomy.core.files import write_text
    from mnemotomy.text.records import json_lines_of

    path, lines = out.with_name(f"{out.name}.forget.jsonl"), json_lines_of(examples)
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != lines:
        raise DataError(f"{path} has the forget set of another run; remove it, or name another OUT")
    write_text(path, lines)
    say(f"this forget set is in {path}, for 'mnemotomy audit'", err=True)
    return path


def _read(files: list[Path] | None) -> Any:
    from mnemotomy.text.records import read_examples

    return None if not files else [one for file in files for one in read_examples(file)]


def _what(
    forget: list[Path] | None,
    about: str | None,
    facts: Path | None,
    subjects: list[str] | None,
    model: Any,
    tokenizer: Any,
    template: Any,
) -> Any:
    """The forget set; what the model itself says is shown."""
    from mnemotomy.forget.about import asked_about, facts_asked
    from mnemotomy.store.fact_store import FactStore

    if forget:
        return _read(forget)
    if facts is not None:
        with FactStore(facts, create=False) as store:
            chosen = list(store) if not subjects else [one for name in subjects for one in store.get(name)]
        return facts_asked(chosen)
    assert about is not None
    examples = asked_about(model, tokenizer, about, template)
    say(f"the model says about {about}:")
    for one in examples:
        say(f"  {' '.join(turn.content for turn in one.turns)}"[:160])
    return examples
