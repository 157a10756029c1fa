"""A search of ``mnemotomy forget``, and what becomes of its result: saved, tried, audited, pushed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mnemotomy.cli.outcome import console, say, warn
from mnemotomy.core.errors import ConfigurationError, MnemotomyError, ModelError, SurgeryWarning

if TYPE_CHECKING:
    from torch import nn

    from mnemotomy.data.fact import Fact
    from mnemotomy.data.images import Picture
    from mnemotomy.forget.found import Found
    from mnemotomy.forget.options import ForgetOptions
    from mnemotomy.recipe.forgotten import As
    from mnemotomy.text.records import TextExample

MORE = 50
"""Trials that the menu adds."""


def check_repository(name: str) -> None:
    """Refuse a name that the hub would refuse, before the work begins.

    Raises:
        ConfigurationError: it is not a valid name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigurationError(f"--push {name!r} is not a valid repository: {error}") from error


@dataclass
class Session:
    """One request: its search, and the choice that is left to the user.

    Attributes:
        model, tokenizer: not edited.
        out: where the result goes.
        about: the source and the files, for the record.
        examples: the forget set.
        kept: the retain set, if one was given.
        options: of the search.
        as_, rank: what is saved.
        push: the repository to upload the result to.
        force: save the result in spite of concerns.
        neighbours: facts about other subjects.
        found: by the last search.
        record: of what was saved; None while nothing is.
    """

    model: nn.Module
    tokenizer: Any
    out: Path
    about: dict[str, Any]
    examples: Sequence[TextExample] | Sequence[Picture]
    kept: Sequence[TextExample] | Sequence[Picture] | None
    options: ForgetOptions
    as_: As
    rank: int | None
    push: str | None
    force: bool
    neighbours: Sequence[Fact] = ()
    found: Found = field(init=False)
    record: dict[str, Any] | None = field(init=False, default=None)

    def search(self) -> None:
        """Run or resume, and show the Pareto list."""
        from mnemotomy.forget.forgetting import forget

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SurgeryWarning)  # shown with the result
            self.found = forget(
                self.model, self.tokenizer, self.examples, self.kept, self.options, neighbours=self.neighbours
            )
        for note in self.found.request.notes:
            say(f"note: {note}", err=True)
        self.show()

    def show(self) -> None:
        """What was found."""
        from mnemotomy.forget.scores import BEYOND, EXPLAINED
        from mnemotomy.report.table import Table

        found = self.found
        heads = ["", "candidate", "left of what was known", found.request.words.hits.removeprefix("the "), "KL, nats"]
        rows = [["", "before", "100.0 %", _percent(found.before.hits), "0"]]
        rows += [
            [
                f"{'* ' if one.number == found.chosen.number else ''}{one.number}",
                found.workshop.named(one.candidate),
                one.scores.told(),
                _percent(one.scores.hits),
                f"{one.scores.kl:.3f}",
            ]
            for one in found.pareto
            if one.scores is not None
        ]
        Table(heads, rows, "Candidates that no other beats").print(console())
        if any(BEYOND in row[2] for row in rows):
            say(EXPLAINED)
        if beaten := len(found.tried) - len(found.pareto):
            say(f"{beaten} of {len(found.tried)} candidates are not shown: one of these beats each in every column")
        say(f"best: {found.workshop.named(found.chosen.candidate)}: {found.reason}")
        for name, shares in found.details.items():
            say(f"{name}: " + ", ".join(f"{one} {_percent(share)}" for one, share in shares.items()))
        for caution in found.cautions:
            warn(caution)

    def warn(self) -> None:
        """What speaks against the chosen candidate."""
        for concern in self.found.concerns:
            warn(concern)

    def save(self) -> None:
        """Save the chosen edit, and upload it where that is wanted.

        Raises:
            ConfigurationError: it would ruin the model or forgets little, and is not forced.
        """
        from mnemotomy.cli.forget_next import next_steps
        from mnemotomy.forget.found import FORGET
        from mnemotomy.recipe.forgotten import save_found

        found = self.found
        if found.concerns and not self.force:
            raise ConfigurationError(
                f"nothing was saved: {'; '.join(found.concerns)}. To save it all the same, give --force"
            )
        self.record = save_found(found, self.model, self.tokenizer, self.out, self.about, as_=self.as_, rank=self.rank)
        extra = ""
        if "adapter" in self.record:
            adapter = self.record["adapter"]
            extra = f", an adapter of rank {adapter['rank']} that leaves out {100 * adapter['error']:.1f} % of the edit"
        forced = " in spite of the warnings" if found.concerns else ""
        tried = f"{len(found.tried)} candidate{'s' if found.tried[1:] else ''}"
        say(f"{self.out}: saved{forced}{extra}; {tried} in {sum(found.seconds.values()):.0f} s")
        forget = list(self.about["files"][FORGET])
        for line in next_steps(found, self.tokenizer, self.about["source"], self.out, self._report_folder, forget):
            say(line)
        if self.push is not None:
            self._upload(self.push)

    def ask(self) -> None:
        """The menu at the end; an error of a choice leaves the others."""
        self.warn()
        while True:
            saving = "[s]ave, " if self.record is None else ""
            choice = typer.prompt(
                f"{saving}the number of another candidate, [m]ore trials ({MORE}), [t]ry it, [a]udit, [p]ush, [q]uit",
                default="q" if self.record is not None else "s",
            ).strip()
            if choice == "q":
                return
            try:
                self._do(choice)
            except (MnemotomyError, OSError) as error:
                say(f"mnemotomy: {error}", err=True)

    def _do(self, choice: str) -> None:
        numbers = {one.number: one for one in self.found.tried if one.scores is not None}
        if choice == "s":
            self._confirmed()
        elif choice == "m":
            self.options = replace(self.options, trials=self.options.trials + MORE)
            self.search()
            self.warn()
            self.record = None
        elif choice == "t":
            self._try()
        elif choice == "a":
            self._audit()
        elif choice == "p":
            name = typer.prompt("repository on the hub, as name/model").strip()
            check_repository(name)
            if self._confirmed():
                self._upload(name)
        elif choice.isdecimal() and int(choice) in numbers:
            self.found, self.record = self.found.choose(numbers[int(choice)]), None
            self.show()
            self.warn()
        else:
            say("give one of these letters, or the number of a candidate", err=True)

    def _confirmed(self) -> bool:
        """Whether the chosen edit is saved, now or before."""
        if self.record is None:
            if self.found.concerns and not self.force:
                if not typer.confirm("save it in spite of the warnings?"):
                    return False
                self.force = True
            self.save()
        return True

    def _try(self) -> None:
        from mnemotomy.cli.chat import talk_beside
        from mnemotomy.forget.scores import IMAGES

        if self.found.request.words is IMAGES:  # there is nobody to talk to
            self.show()
            return
        edited = self.found.edit.apply(self.model, check=False, tied="untie")
        talk_beside(self.model, edited, self.tokenizer, self.found.options.template)

    @property
    def _report_folder(self) -> Path:
        return self.out.with_name(f"{self.out.name}-audit")

    def _audit(self) -> None:
        """Attack the saved result; the report lies beside it."""
        from datetime import UTC, datetime

        from mnemotomy.audit.options import AuditOptions
        from mnemotomy.audit.run import audit
        from mnemotomy.cli.audit import shown
        from mnemotomy.core.models import load_model
        from mnemotomy.core.modules import device_of

        if not self._confirmed():
            return
        request, template = self.found.request, self.found.options.template
        folder = self._report_folder
        about = {
            "asked on": datetime.now(UTC).date().isoformat(),
            "before": self.about["source"],
            "after": str(self.out),
        }
        about |= {f"{name} file": f"{file}, SHA-256 {digest}" for name, files in self.about["files"].items()
                  for file, digest in files.items()}  # fmt: skip
        options = AuditOptions(template=template, seed=request.seed, folder=folder, about=about)
        after: Any = self.found.edit
        if self.as_ != "edit":
            after = load_model(self.out, device=str(device_of(self.model)))
        report = audit(self.model, after, self.tokenizer, *request.audited(), options=options)
        report.save(folder)
        shown(report, folder)

    def _upload(self, repository: str) -> None:
        from huggingface_hub import HfApi

        api = HfApi()
        try:
            api.create_repo(repository, exist_ok=True)
            if self.out.is_dir():
                api.upload_folder(repo_id=repository, folder_path=str(self.out))
            else:
                api.upload_file(repo_id=repository, path_or_fileobj=str(self.out), path_in_repo=self.out.name)
        except Exception as error:  # the hub's errors, the network's and the disk's have no common class
            raise ModelError(f"{self.out} is saved, but cannot be uploaded to {repository}: {error}") from error
        say(f"uploaded to {repository}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
