"""Options shared by the commands of ``mnemotomy bench tofu``, and what they name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mnemotomy.cli.options import Precise, PrecisionName, with_options
from mnemotomy.cli.templates import Tags
from mnemotomy.core.errors import DataError, ModelError
from mnemotomy_bench.cli.options import Device, Out

if TYPE_CHECKING:
    from mnemotomy_bench.tofu.records import TofuRecord
    from mnemotomy_bench.tofu.subject import Subject

RECORDS, DEFAULT_OUT = "tofu.json", Path("runs/bench/tofu")

Subjects = Callable[[], "Subject"]
"""Makes the subject of a command when it is needed."""

Models = Annotated[Path | None, typer.Option(help="A folder with the pair: full, retain90 and, optionally, base.")]
Full = Annotated[str | None, typer.Option(help="The model that learned all of TOFU: a folder or a hub id.")]
Gold = Annotated[str | None, typer.Option(help="The gold model, which never saw the forget set.")]
Pretrained = Annotated[
    str | None, typer.Option(help="The model before it learned TOFU, for methods and measures that need it.")
]
Data = Annotated[str | None, typer.Option(help="TOFU's folder or hub id; default: MNEMOTOMY_DATA/tofu.")]
Forget = Annotated[str, typer.Option(help="forget01, forget05 or forget10.")]
Judge = Annotated[
    str | None,
    typer.Option(help="A gibberish classifier (folder or hub id); default: perplexity under the pretrained model."),
]
NewTokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer that a model writes.")]


def _subject(
    models: Models = None,
    full: Full = None,
    gold: Gold = None,
    pretrained: Pretrained = None,
    name: Annotated[str | None, typer.Option(help="Name of the pair in records.")] = None,
    data: Data = None,
    forget: Forget = "forget10",
    fluency: Judge = None,
    max_new_tokens: NewTokens = 200,
    precision: Precise = PrecisionName.NO,
    device: Device = "cpu",
    tags: Tags = False,
    out: Out = DEFAULT_OUT,
) -> Any:
    """The `Subject`; without a gibberish classifier, its base model judges fluency.

    Raises:
        DataError: no models are named, or the data is missing.
        ModelError: a folder is missing, or the tokenizers differ.
    """
    from mnemotomy.core.sources import locate_model
    from mnemotomy.evaluation.evaluating import Fluency
    from mnemotomy.observe.questions import Asking
    from mnemotomy.text.template import check_template
    from mnemotomy_bench.tofu.pairs import Pair
    from mnemotomy_bench.tofu.subject import Subject
    from mnemotomy_bench.tofu.texts import Texts, default_source

    full, gold, pretrained = _models(models, full, gold, pretrained, forget)
    base = None if pretrained is None else locate_model(pretrained)
    pair = Pair(locate_model(full), locate_model(gold), base, name or _pair_name(full), device)
    check_template(pair.tokenizer, pair.full, tags)  # the same for all three models; checked before any work is done
    judge = Fluency(base=pair.pretrained) if fluency is None else Fluency(locate_model(fluency))
    asking = Asking(max_new_tokens=max_new_tokens, precision=precision.value)
    return Subject(pair, Texts(data or default_source(), forget), out, asking, judge)


with_pair = with_options(_subject, "subject", lazy=True)
"""Gives a command the options of a pair in place of its parameter ``subject``, which makes the `Subject`."""


def _models(
    models: Path | None, full: str | None, gold: str | None, pretrained: str | None, forget: str
) -> tuple[str, str, str | None]:
    """The models of a folder; options override each of them."""
    from mnemotomy.data.tofu import retained_split

    if models is not None:
        for option, given, part in (("--full", full, "full"), ("--gold", gold, retained_split(forget))):
            if given is None and not (models / part).is_dir():  # else the hub would be asked for it
                raise ModelError(f"{models / part} does not exist; name another with --models, or give {option}")
        full = full or str(models / "full")
        gold = gold or str(models / retained_split(forget))
        if pretrained is None and (models / "base").is_dir():
            pretrained = str(models / "base")
    if full is None or gold is None:
        raise DataError("give --models FOLDER, which contains full and retain90, or give --full and --gold")
    return full, gold, pretrained


def _pair_name(full: str) -> str:
    """The folder that holds the pair."""
    path = Path(full)
    return path.resolve().parent.name if path.is_dir() else full


def records_of(path: Path) -> list[TofuRecord]:
    """The records that ``run`` wrote.

    Raises:
        DataError: the file is missing or contains something else.
    """
    import json

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"there is no {path}; make it with 'mnemotomy bench tofu run'") from None
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) and _whole(one) for one in found):
        raise DataError(f"{path} does not contain records of 'mnemotomy bench tofu run'")
    return cast("list[TofuRecord]", found)


def records_so_far(out: Path) -> list[TofuRecord]:
    """The records in the folder of ``run``; none if nothing was run.

    Raises:
        DataError: the file contains something else.
    """
    return records_of(out / RECORDS) if (out / RECORDS).is_file() else []


def _whole(record: dict[str, Any]) -> bool:
    """Whether a record names its subject and has a valid score."""
    named = all(isinstance(record.get(key), str) for key in ("method", "title", "family", "pair", "forget"))
    return named and isinstance(record.get("overall"), int | float | None)


def check_same_subject(records: list[TofuRecord], subject: Subject, out: Path) -> None:
    """Refuse to mix records of different pairs, forget sets or settings in one folder.

    Raises:
        DataError: the folder has records of another subject.
    """
    from mnemotomy_bench.tofu.cells import subject_key

    pair, forget = subject.pair.name, subject.texts.forget
    key = subject_key(subject) if any("subject" in one for one in records) else ""
    for one in records:
        if (one["pair"], one["forget"]) != (pair, forget):
            raise DataError(
                f"{out / RECORDS} has records of {one['forget']} on the pair {one['pair']!r}, but this run is of "
                f"{forget} on {pair!r}; choose another folder with --out"
            )
        if one.get("subject", key) != key:
            raise DataError(
                f"{out / RECORDS} has records of the pair {pair!r} with other weights, texts or settings (precision, "
                "tokens, template, fluency); choose another folder with --out"
            )


def closed_form_of(out: Path, method: str | None) -> Any:
    """The configuration of a closed form as ``run`` has chosen it; None if no method is named.

    Raises:
        DataError: it is not among the records.
    """
    from mnemotomy.methods.language.closed_form import ClosedForm
    from mnemotomy_bench.tofu.sweeps import chosen_configuration

    if method is None:
        return None
    found = chosen_configuration(records_of(out / RECORDS), method)
    if found is None:
        raise DataError(f"{out / RECORDS} has no method {method!r}; run it first, or omit --method")
    if not isinstance(found, ClosedForm):
        raise DataError(f"{method} is not a one-sided closed form; choose one for --method")
    return found
