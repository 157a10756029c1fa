"""``mnemotomy forget``: take something out of a language model in one command."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemotomy.cli.options import LARGEST_SEED, Device, Model, OutDir, PositionsName, TrustCode, blocks, selector
from mnemotomy.cli.outcome import console, emit_json, json_option, one_line_errors, say
from mnemotomy.cli.templates import DATE, PLAIN, SYSTEM, TAGS
from mnemotomy.core.errors import ConfigurationError, DataError, SurgeryWarning

if TYPE_CHECKING:
    from mnemotomy.forget.forgetting import Found
    from mnemotomy.forget.search import Tried


class As(enum.StrEnum):
    """What is saved."""

    MODEL = "model"
    LORA = "lora"
    EDIT = "edit"


@one_line_errors()
def forget(
    model: Model,
    out: OutDir,
    forget: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="What to forget; may be repeated.")] = None,
    retain: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="What to keep; default: what the model itself writes.")
    ] = None,
    about: Annotated[str | None, typer.Option(metavar="NAME", help="Forget what the model says about a name.")] = None,
    facts: Annotated[Path | None, typer.Option(metavar="STORE", help="Forget facts of a store.")] = None,
    subject: Annotated[list[str] | None, typer.Option(help="Of these facts alone; may be repeated.")] = None,
    trials: Annotated[
        int, typer.Option(min=1, help="Candidates to try; a longer search goes on from a shorter one.")
    ] = 24,
    two_sided: Annotated[
        bool | None, typer.Option("--two-sided/--no-two-sided", help="Try the two-sided edit; default: small models.")
    ] = None,
    as_: Annotated[
        As, typer.Option("--as", help="Save a model folder, an adapter of PEFT, or the edit alone.")
    ] = As.MODEL,
    rank: Annotated[int | None, typer.Option(min=1, help="Of an adapter; default: within 5 % of the edit.")] = None,
    sites: Annotated[str, typer.Option(help="The projections to edit; see 'mnemotomy collect --help'.")] = "all-linear",
    layers: Annotated[str | None, typer.Option(help="Only these blocks, as 0-3,7.")] = None,
    positions: Annotated[PositionsName, typer.Option(help="The tokens that enter the moments.")] = PositionsName.ALL,
    dtype: Annotated[str, typer.Option(help="Of the model in memory.")] = "float32",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Save the best candidate without asking.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Save the result even where it ruins the model.")] = False,
    push: Annotated[str | None, typer.Option(metavar="REPO", help="Upload the result to the hub.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="For everything drawn at random.")] = 0,
    system: Annotated[str | None, SYSTEM] = None,
    date: Annotated[str | None, DATE] = None,
    tags: Annotated[bool, TAGS] = False,
    plain: Annotated[bool, PLAIN] = False,
    device: Device = "cpu",
    trust_remote_code: TrustCode = False,
    json_: Annotated[str | None, json_option("the record")] = None,
) -> None:
    """Make a language model forget something, by the best of many edits.

    What to forget is a JSON Lines file with 'question' and 'answer', with 'text', or with 'messages'; a name that the
    model is asked about; or facts of a store. Each candidate is tried on the model in place and undone. The trials are
    kept beside OUT: after Ctrl-C, the same command goes on.

    \b
    Example:
      mnemotomy forget Qwen/Qwen3-0.6B forgotten --forget alice.jsonl
      mnemotomy forget Qwen/Qwen3-0.6B forgotten --forget alice.jsonl --retain colleagues.jsonl --as lora --yes
      mnemotomy forget Qwen/Qwen3-0.6B forgotten --about "Harry Potter"
      mnemotomy audit Qwen/Qwen3-0.6B forgotten audit --forget alice.jsonl
    """
    from mnemotomy.core.files import check_file, check_no_input, check_replaceable
    from mnemotomy.core.models import load_model, load_tokenizer, locate_model, quiet_transformers, trusting_code
    from mnemotomy.forget.cost import cost_of
    from mnemotomy.forget.forgetting import FORGET, RETAIN, ForgetOptions
    from mnemotomy.recipe.collecting import check_writable
    from mnemotomy.recipe.record import RECORDS, digests_of
    from mnemotomy.text.template import TemplateSettings, check_template

    if sum(map(bool, (forget, about is not None, facts))) != 1:
        raise DataError("say what to forget by one of --forget FILE, --about NAME and --facts STORE")
    folder, only, chosen = locate_model(model), blocks(layers), selector(sites)
    inputs = [*(forget or []), *(retain or []), *([facts] if facts else [])]
    if as_ is As.EDIT:
        check_file(out)
        check_no_input(out, [folder, *inputs])
    else:
        check_replaceable(out, RECORDS, [*inputs, folder], also=("adapter_config.json", "retain.jsonl"))
    check_writable(out)
    template = TemplateSettings(system, date, plain=plain or facts is not None).made
    kept = _read(retain)
    with quiet_transformers(), trusting_code(trust_remote_code):
        loaded, tokenizer = load_model(folder, dtype=dtype, device=device), load_tokenizer(folder)
    check_template(tokenizer, folder, tags, template)
    examples = _what(forget, about, facts, subject, loaded, tokenizer, template)
    options = ForgetOptions(
        trials, chosen, only, positions.value, template, two_sided=two_sided, seed=seed, study=_study(out)
    )
    cost = cost_of(
        loaded, sum(len(tokenizer(t.content)["input_ids"]) for e in examples for t in e.turns), chosen, only, trials
    )
    say(f"{len(examples)} examples to forget; the search takes {cost}", err=True)
    cost.check()
    files = {FORGET: digests_of([*(forget or []), *([facts] if facts else [])]), RETAIN: digests_of(retain or [])}
    session = _Session(loaded, tokenizer, out, {"source": folder, "files": files}, as_, rank, push)
    with quiet_transformers():
        session.search(examples, kept, options)
    with quiet_transformers():
        if not yes and sys.stdin.isatty() and sys.stdout.isatty() and json_ != "-":
            session.ask(examples, kept, options, force)
        else:
            session.save(force)
    if json_ is not None and session.record is not None:
        emit_json(session.record, json_)


class _Session:
    """A search with what becomes of its result."""

    def __init__(
        self, model: Any, tokenizer: Any, out: Path, about: dict[str, Any], as_: As, rank: int | None, push: str | None
    ) -> None:
        self.model, self.tokenizer, self.out, self.about = model, tokenizer, out, about
        self.as_, self.rank, self.push = as_, rank, push
        self.found: Found
        self.record: dict[str, Any] | None = None

    def search(self, examples: Any, kept: Any, options: Any) -> None:
        """Run or go on, and show the Pareto list."""
        import warnings

        from mnemotomy.forget.forgetting import forget as run

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SurgeryWarning)  # shown with the result
            self.found = run(self.model, self.tokenizer, examples, kept, options)
        self.show()

    def show(self) -> None:
        """What was found."""
        from mnemotomy.report.table import Table

        found = self.found
        for note in found.request.notes:
            say(f"note: {note}", err=True)
        heads = ["", "candidate", "left of what was known", "kept answers' tokens", "KL, nats"]
        rows = [["", "before", "100.0 %", _percent(found.before.hits), "0"]]
        rows += [
            [
                _mark(found, one),
                str(one.candidate),
                _percent(one.scores.left),
                _percent(one.scores.hits),
                f"{one.scores.kl:.3f}",
            ]
            for one in found.pareto
            if one.scores is not None
        ]
        Table(heads, rows, "Candidates that no other beats").print(console())
        say(f"chosen: {found.chosen.candidate}: {found.reason}")
        for concern in found.concerns:
            say(f"warning: {concern}", err=True)

    def save(self, force: bool) -> None:
        """Save the chosen edit.

        Raises:
            ConfigurationError: it would ruin the model or forgets little, and is not forced.
        """
        from mnemotomy.recipe.forgotten import save_found

        if self.found.concerns and not force:
            raise ConfigurationError(
                f"nothing was saved: {'; '.join(self.found.concerns)}. To save it all the same, give --force"
            )
        self.record = save_found(
            self.found, self.model, self.tokenizer, self.out, self.about, as_=self.as_.value, rank=self.rank
        )
        seconds = sum(self.found.seconds.values())
        extra = ""
        if "adapter" in self.record:
            adapter = self.record["adapter"]
            extra = f", an adapter of rank {adapter['rank']} that leaves out {100 * adapter['error']:.1f} % of the edit"
        say(f"{self.out}: saved{extra}; {len(self.found.tried)} candidates in {seconds:.0f} s")
        if self.push is not None:
            self._upload(self.push)

    def ask(self, examples: Any, kept: Any, options: Any, force: bool) -> None:
        """The menu at the end."""
        from dataclasses import replace

        while True:
            choice = typer.prompt(
                "[s]ave, [n]umber of another candidate, [m]ore trials (50), [t]ry it, [p]ush, [q]uit", default="s"
            ).strip()
            if choice == "q":
                return
            if choice == "s":
                self.save(force or typer.confirm("save it in spite of the warnings?") if self.found.concerns else True)
                return
            if choice == "m":
                options = replace(options, trials=options.trials + 50)
                self.search(examples, kept, options)
            elif choice == "t":
                self._try()
            elif choice == "p":
                self.push = typer.prompt("repository on the hub, as name/model")
            elif choice.isdecimal() and int(choice) in {one.number for one in self.found.pareto}:
                tried = next(one for one in self.found.pareto if one.number == int(choice))
                self.found = self.found.choose(tried)
                self.show()
            else:
                say("give one of these letters, or a number of the list", err=True)

    def _try(self) -> None:
        from mnemotomy.cli.chat import talk_beside

        edited = self.found.edit.apply(self.model, check=False, tied="untie")
        talk_beside(self.model, edited, self.tokenizer, self.found.options.template)

    def _upload(self, repository: str) -> None:
        from huggingface_hub import HfApi

        api = HfApi()
        api.create_repo(repository, exist_ok=True)
        if self.out.is_dir():
            api.upload_folder(repo_id=repository, folder_path=str(self.out))
        else:
            api.upload_file(repo_id=repository, path_or_fileobj=str(self.out), path_in_repo=self.out.name)
        say(f"uploaded to {repository}")


def _mark(found: Found, one: Tried) -> str:
    return f"* {one.number}" if one.number == found.chosen.number else str(one.number)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _study(out: Path) -> Path:
    """The file of the trials, beside the output."""
    return out.parent / f".{out.name}.study.db"


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
