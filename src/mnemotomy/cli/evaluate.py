"""``mnemotomy evaluate``: what a language model still knows of the forget set, and what it retained."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemotomy.cli.options import Device, Model, Precise, PrecisionName, TrustCode
from mnemotomy.cli.outcome import console, emit_json, json_option, one_line_errors, say
from mnemotomy.cli.templates import USUAL, with_template
from mnemotomy.core.errors import DataError
from mnemotomy.core.files import check_name, write_text
from mnemotomy.text.template import TemplateSettings

if TYPE_CHECKING:
    from mnemotomy.observe.splits import Splits


class RougeWords(StrEnum):
    """The choices of --rouge."""

    ASCII = "ascii"
    UNICODE = "unicode"


@one_line_errors()
@with_template
def evaluate(
    model: Model,
    forget: Annotated[
        str, typer.Option(help="A split of --data, such as forget10, or a file of questions with answers.")
    ],
    data: Annotated[str | None, typer.Option(help="A folder with TOFU's splits, or a hub id.")] = None,
    retain: Annotated[Path | None, typer.Option(help="Without --data: the retain set, as questions.")] = None,
    holdout: Annotated[Path | None, typer.Option(help="Without --data: questions that no model has seen.")] = None,
    gold: Annotated[
        str | None, typer.Option(help="The gold model, which never saw the forget set, or its TOFU_EVAL.json.")
    ] = None,
    before: Annotated[
        str | None,
        typer.Option("--before", "--full", help="The model before it forgot, or its TOFU_EVAL.json."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for TOFU_EVAL.json, TOFU_SUMMARY.json and all observations.")
    ] = None,
    fluency: Annotated[str | None, typer.Option(help="A classifier of gibberish: a folder or a hub id.")] = None,
    fluency_base: Annotated[
        str | None, typer.Option(help="Without a classifier: a base model for the perplexity of the answers.")
    ] = None,
    rouge: Annotated[
        RougeWords, typer.Option(help="ROUGE's words: ascii is OpenUnlearning's; unicode counts those of every script.")
    ] = RougeWords.ASCII,
    max_new_tokens: Annotated[int, typer.Option(min=0, help="The most tokens of a written answer; 0 for none.")] = 200,
    batch_size: Annotated[int, typer.Option(min=1, help="The most rows in a batch.")] = 32,
    template: TemplateSettings = USUAL,
    precision: Precise = PrecisionName.NO,
    device: Device = "cpu",
    trust_remote_code: TrustCode = False,
    json_: Annotated[str | None, json_option("the metrics")] = None,
) -> None:
    """Compute the metrics of TOFU and OpenUnlearning.

    --before shows the model before forgetting beside it. --gold adds forget quality and the scores of the paper's
    Table 6. Either may be an earlier evaluation instead, ours or OpenUnlearning's. A metric whose data are missing is
    left out, with a note on what it needs.

    \b
    Example:
      mnemotomy evaluate full --data ../shared/data/tofu --forget forget10 --gold retain90 --json -
      mnemotomy evaluate unlearned --before full --gold retain90 --data locuslab/TOFU --forget forget10 --out evaluation
      mnemotomy evaluate unlearned --gold saves/eval/tofu_Llama-3.2-1B-Instruct_retain90/TOFU_EVAL.json \\
        --data locuslab/TOFU --forget forget10
      mnemotomy evaluate unlearned --before MODEL --forget forget.jsonl --retain retain.jsonl --holdout unseen.jsonl
    """
    import json

    from mnemotomy.core.fingerprints import check_same_tokenizer
    from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
    from mnemotomy.core.sources import locate_model
    from mnemotomy.evaluation.evaluating import Fluency, earlier_evaluation, evaluation_of, left_out, write_evaluation
    from mnemotomy.metrics.tofu.aggregates import forget_quality
    from mnemotomy.metrics.tofu.evaluation import summary, values_of
    from mnemotomy.metrics.tofu.scores import scores
    from mnemotomy.observe.questions import Asking, Observed
    from mnemotomy.text.template import check_template

    if out is not None and out.exists() and not out.is_dir():
        raise DataError(f"--out {out} is a file; name a folder")
    if out is not None:
        check_name(out)
    splits = _splits(data, forget, retain, holdout)
    judge = Fluency(*(None if one is None else locate_model(one) for one in (fluency, fluency_base)))
    given = {name: one for name, one in (("model", model), ("before", before), ("gold", gold)) if one is not None}
    read = {
        name: earlier_evaluation(one, len(splits["forget"]))
        for name, one in given.items()
        if name != "model" and one.endswith(".json")
    }
    named = {name: locate_model(one) for name, one in given.items() if name not in read}
    with quiet_transformers():
        tokenizer = load_tokenizer(named["model"])
        for other in list(named.values())[1:]:
            check_same_tokenizer(named["model"], tokenizer, other, load_tokenizer(other))
        check_template(tokenizer, named["model"], template.tags, template.made)
        asking = Asking(template.made, max_new_tokens, batch_size, precision.value)
        evaluations = {
            name: evaluation_of(
                Observed(load_model(folder, device=device), tokenizer),
                splits,
                asking,
                fluency=judge,
                words=rouge.value,
                folder=out,
            )
            for name, folder in named.items()
        } | read
    found, lacking = evaluations["model"], left_out(evaluations["model"], splits)
    row: dict[str, float] | None = None
    if gold is not None:
        if "forget_truth_ratio" in found:
            ratios = [values_of(one, "forget_truth_ratio") for one in (found, evaluations["gold"])]
            found = dict(sorted((found | {"forget_quality": {"agg_value": forget_quality(*ratios)}}).items()))
        if any(name in lacking for name in ("forget_truth_ratio", "forget_Q_A_PARA_Prob", "mia_loss", "model_utility")):
            lacking["scores"] = "need all of these metrics"
        else:
            row = scores(found, evaluations.get("before", found), evaluations["gold"]).row()
    if out is not None:
        write_evaluation(out, found)
        if row is not None:
            write_text(out / "scores.json", json.dumps(row, indent=2) + "\n")
        else:  # an earlier evaluation's scores would pass for this one's
            (out / "scores.json").unlink(missing_ok=True)
    others: dict[str, dict[str, float]] = {
        name: summary(evaluations[name]) for name in ("before", "gold") if name in evaluations
    }
    if json_ is not None:
        extra: dict[str, Any] = others | ({} if row is None else {"scores": row})
        emit_json(summary(found) | extra | {"left_out": lacking, "rouge": rouge.value}, json_)
    if json_ != "-":
        _print(summary(found) | {f"score {key}": value for key, value in (row or {}).items()}, others)
    for name, why in lacking.items():
        say(f"mnemotomy: left out: {name} {why}", err=True)


def _print(found: Mapping[str, float], others: Mapping[str, Mapping[str, float]]) -> None:
    """The numbers of the model and of others beside it, and what each says."""
    from mnemotomy.metrics.tofu.meanings import meaning
    from mnemotomy.report.table import Table

    columns = {name: others[name] for name in ("before",) if name in others}
    columns |= {"after" if "before" in others else "value": found}
    columns |= {name: others[name] for name in ("gold",) if name in others}
    rows = [
        [metric, *(f"{column[metric]:.4f}" if metric in column else "" for column in columns.values())]
        for metric in found
    ]
    Table(["metric", *columns], rows).print(console())
    for metric in found:
        say(f"{metric}: {meaning(metric)}")


def _splits(data: str | None, forget: str, retain: Path | None, holdout: Path | None) -> Splits:
    """The splits of a TOFU folder, or the user's own files.

    Raises:
        DataError: the options contradict each other, or a split is missing or malformed.
    """
    from mnemotomy.evaluation.texts import tofu_splits
    from mnemotomy.text.records import read_questions

    if data is not None:
        if retain is not None or holdout is not None:
            raise DataError(
                "--data has a retain and a holdout split of its own; leave out --retain and --holdout, or --data"
            )
        return tofu_splits(data, forget)
    if not Path(forget).exists():
        raise DataError(f"{forget} does not exist; for a split of TOFU give --data DIR as well")
    if retain is None:
        raise DataError("--forget FILE needs a retain set; give --retain FILE")
    files = {"forget": Path(forget), "retain": retain, "holdout": holdout}
    return {name: read_questions(file) for name, file in files.items() if file is not None}
