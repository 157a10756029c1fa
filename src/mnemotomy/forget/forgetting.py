"""Forgetting in one call: what to retain, moments, candidates, a search, a choice, and what it cost."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from mnemotomy.core.clock import Clock
from mnemotomy.core.errors import SurgeryWarning
from mnemotomy.core.keys import key
from mnemotomy.core.locks import locked
from mnemotomy.core.models import check_language_model
from mnemotomy.core.modules import device_of, window_of
from mnemotomy.core.precision import Precision, resolved
from mnemotomy.core.version import versions
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import collect
from mnemotomy.engram.cut import CUT, Cut, RelativeCut
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.factored import FactoredConcept
from mnemotomy.engram.guards import row_concerns
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.sites import Selector, select_sites
from mnemotomy.forget.candidates import Workshop
from mnemotomy.forget.measuring import Judge, Scores
from mnemotomy.forget.reference import ROWS_PER_DIRECTION, neighbours, tokens_of, written_texts
from mnemotomy.forget.request import Request, split
from mnemotomy.forget.search import FORGOTTEN, LIMIT, Search, Tried, pareto
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.observe.questions import Observed
from mnemotomy.text.batches import BATCH_SIZE, Source, batches, examples_of
from mnemotomy.text.encoding import MAX_LENGTH, Positions
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import OPEN_UNLEARNING, Template, TemplateSettings

FORGET, RETAIN = "forget", "reference"
SMALL = 3e7
"""Parameters up to which the two-sided edit is tried by default: it takes minutes on larger models."""

FEW = 5
"""With fewer examples to retain, some of the model's own texts are kept apart to measure on."""

NOTHING = 0.25
"""Where at least this share of the forget set's probability is left, little was forgotten."""


@dataclass(frozen=True)
class ForgetOptions:
    """How to search.

    Attributes:
        trials: candidates to try.
        sites, layers: the projections to edit, as for ``mnemotomy.collect``.
        positions: the tokens that enter the moments. By default all: what leads to an answer counts as much as the
            answer, and what a template repeats everywhere has a μ of n⁺/N, which the filters spare.
        template: what stands around questions and answers.
        cut: of Σ_total.
        two_sided: whether to try the two-sided edit; None for models of at most 30 million parameters.
        precision: of measuring.
        batch_size: of the collecting passes.
        study: an SQLite file that keeps the trials, for one search at a time; None to keep nothing.
        seed: for everything drawn at random.
        progress: show bars on a terminal.
    """

    trials: int = 24
    sites: Selector = "all-linear"
    layers: tuple[int, ...] | None = None
    positions: Positions = "all"
    template: Template = OPEN_UNLEARNING
    cut: Cut = field(default_factory=RelativeCut)
    two_sided: bool | None = None
    precision: Precision = "auto"
    batch_size: int = BATCH_SIZE
    study: Path | None = None
    seed: int = 0
    progress: bool = True


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        edit: the chosen one; ``found.edit.apply(model)`` gives the model that has forgotten.
        chosen: its candidate and scores.
        before: the unedited model's scores.
        tried: all candidates, in their order.
        concerns: what speaks against the result, in words; empty if nothing does.
        request: what went into it.
        options: how it was searched.
        seconds: by phase.
        counts: tokens in the moments, by set.
    """

    edit: Edit
    chosen: Tried
    before: Scores
    tried: Sequence[Tried]
    concerns: Sequence[str]
    request: Request
    options: ForgetOptions
    seconds: dict[str, float]
    counts: dict[str, int]
    workshop: Workshop = field(repr=False)

    @property
    def pareto(self) -> list[Tried]:
        """The candidates that no other beats in forgetting, kept answers and KL at once."""
        return pareto(self.tried, self.before)

    @property
    def reason(self) -> str:
        """Why the chosen candidate was chosen."""
        work = sum(one.works(self.before) for one in self.tried)
        limits = (
            f"leaving at most {100 * FORGOTTEN:.0f} % of what was known and costing at most {100 * LIMIT:.0f} points "
            "of the kept answers' tokens"
        )
        if not work:
            return f"the highest score; none of {len(self.tried)} candidates stays within the limits, {limits}"
        return f"the highest score of the {work} candidates (of {len(self.tried)}) within the limits, {limits}"

    def choose(self, tried: Tried) -> Found:
        """The same with another candidate chosen."""
        edit, own = self.workshop.edit(tried.candidate), _concerns(self.chosen, self.before)
        few = [one for one in self.concerns if one not in own]  # of the moments, whatever is chosen
        return replace(self, chosen=tried, edit=edit, concerns=[*few, *_concerns(tried, self.before)])

    @property
    def record(self) -> dict[str, Any]:
        """Everything needed to repeat the search, and what it showed."""
        request, options = self.request, self.options
        return {
            "kind": "forget",
            "chosen": self.chosen.candidate.recipe(),
            "reason": self.reason,
            "scores": {
                "before": self.before.row(),
                "after": None if self.chosen.scores is None else self.chosen.scores.row(),
            },
            "pareto": [_told(one) for one in self.pareto],
            "tried": [_told(one) for one in self.tried],
            "concerns": list(self.concerns),
            "counts": {
                "examples": {
                    FORGET: len(request.forget), RETAIN: len(request.retain), "kept apart": len(request.checks),
                },
                "tokens": self.counts,
            },
            "notes": list(request.notes),
            "settings": {
                "trials": options.trials,
                "sites": options.sites if isinstance(options.sites, str) else list(options.sites),
                "layers": options.layers,
                "positions": options.positions,
                "template": asdict(TemplateSettings.of(options.template)),
                "cut": CUT.describe(options.cut),
                "precision": options.precision,
                "seed": options.seed,
            },
            "edit": self.edit.describe(),
            "versions": versions() | {"optuna": _optuna()},
            "seconds": self.seconds,
        }  # fmt: skip


def forget(
    model: nn.Module,
    tokenizer: Any,
    forget: Source,
    retain: Source | None = None,
    options: ForgetOptions | None = None,
) -> Found:
    """Search the edit that forgets most and costs least; the model itself stays as it is.

        found = mt.forget(model, tokenizer, "alice.jsonl")
        edited = found.edit.apply(model)

    Candidates are edits over one set of moments: the projector, a steep filter, the paper's μ and its weight norm, each
    with outputs or without, on all projections or some; and the two-sided edit. Each is tried on the model in place and
    undone. What is left of the forget set is measured in other words than those of the moments, damage on examples that
    were kept apart and on general sentences. Without a retain set, or with one of too few tokens, the model's own
    answers about neighbours of what is forgotten and texts that it writes itself are retained.

    Args:
        model: a causal language model of transformers.
        tokenizer: the model's.
        forget: a JSON Lines file, or its lines (``mnemotomy.batches``).
        retain: likewise.
        options: how to search.

    Warns:
        SurgeryWarning: few rows, little forgotten, or kept answers lost; ``found.concerns`` has the same.
        UserWarning: the study has trials of another search, which are not used.

    Raises:
        DataError: another search uses the study.
        MnemotomyError: data or model are not valid.
        KeyboardInterrupt: with a study, the trials are kept, and the same call goes on.
    """
    options = options or ForgetOptions()
    with contextlib.ExitStack() as held:
        if options.study is not None:
            held.enter_context(locked(options.study.with_name(f"{options.study.name}.lock"), str(options.study)))
        return _found(model, tokenizer, forget, retain, options)


def _found(model: nn.Module, tokenizer: Any, forget: Source, retain: Source | None, options: ForgetOptions) -> Found:
    check_language_model(model, tokenizer)
    model.eval()
    clock = Clock()
    request = prepare(model, tokenizer, examples_of(forget), None if retain is None else examples_of(retain), options)
    clock.lap("prepare")
    moments = _moments(request, options)
    counts = {name: max(moments.count(site, name) for site in moments.readers) for name in moments.concepts}
    few = row_concerns(moments, [FORGET])
    for concern in few:
        warnings.warn(concern, SurgeryWarning, stacklevel=3)
    clock.lap("collect")
    factored = FactoredConcept(Atlas(model, moments, options.cut, keep=1), FORGET)
    clock.lap("factorise")
    judge = Judge(request, options.precision)
    problem = TextProblem(
        model, tokenizer, list(request.forget), list(request.retain), options.template, seed=options.seed
    )
    workshop = Workshop(factored, problem)
    tried = Search(
        judge,
        workshop,
        options.trials,
        two_sided=_tries_two_sided(model, options),
        seed=options.seed,
        storage=options.study,
        depends=_depends(request, options),
        progress=options.progress,
    ).run()
    clock.lap("search")
    chosen = max(tried, key=lambda one: one.rank(judge.before))
    concerns = [*few, *_concerns(chosen, judge.before)]
    for concern in concerns[len(few) :]:
        warnings.warn(concern, SurgeryWarning, stacklevel=3)
    edit = workshop.edit(chosen.candidate)
    return Found(edit, chosen, judge.before, tried, concerns, request, options, clock.seconds, counts, workshop)


def prepare(
    model: nn.Module,
    tokenizer: Any,
    forget: Sequence[TextExample],
    retain: Sequence[TextExample] | None,
    options: ForgetOptions,
) -> Request:
    """The request with a retain set of enough tokens, some of which is kept apart."""
    request = Request(model, tokenizer, list(forget), [], [], options.template, options.seed)
    notes: list[str] = []
    examples = list(retain or ())
    if not examples:
        examples = neighbours(model, tokenizer, request.askable(request.forget), options.template, options.seed)
        notes.append(f"no retain set was given: {len(examples)} neighbours of the forget set, answered by the model")
    length = min(MAX_LENGTH, window_of(model) or MAX_LENGTH)
    have = tokens_of(tokenizer, examples, options.template, options.positions, length) if examples else 0
    wanted, own = round(ROWS_PER_DIRECTION * _widest(model, options)), []
    if have < wanted:
        own = written_texts(model, tokenizer, wanted - have, options.template, options.seed)
        notes.append(
            f"the retain set has {have} tokens for inputs of up to {wanted // int(ROWS_PER_DIRECTION)} directions: "
            f"{len(own)} texts that the model wrote were added"
        )
    if len(examples) < FEW:  # what a model samples is hardly what it would answer: the worse set to measure on
        examples, own = examples + own, []
    part, checks = split(examples, options.seed)
    return replace(request, retain=part + own, checks=checks, notes=tuple(notes))


def _widest(model: nn.Module, options: ForgetOptions) -> int:
    return max(int(site.weight().shape[-1]) for site in select_sites(model, options.sites, options.layers).values())


def _moments(request: Request, options: ForgetOptions) -> Moments:
    length = min(MAX_LENGTH, window_of(request.model) or MAX_LENGTH)
    data = {
        name: batches(
            request.tokenizer,
            list(examples),
            template=options.template,
            positions=options.positions,
            batch_size=options.batch_size,
            max_length=length,
        )
        for name, examples in ((FORGET, request.forget), (RETAIN, request.retain))
    }
    return collect(request.model, data, sites=options.sites, layers=options.layers)


def _tries_two_sided(model: nn.Module, options: ForgetOptions) -> bool:
    if options.two_sided is not None:
        return options.two_sided
    return options.sites == "all-linear" and sum(one.numel() for one in model.parameters()) <= SMALL


def _concerns(chosen: Tried, before: Scores) -> list[str]:
    """What speaks against a choice."""
    if chosen.scores is None:
        return ["every candidate breaks the model; give more to retain"]
    after, found = chosen.scores, []
    lost = before.hits - after.hits
    if lost > LIMIT:
        found.append(
            f"the kept answers' tokens fall from {100 * before.hits:.0f} to {100 * after.hits:.0f} %: what is to be "
            "forgotten shares too much with the rest; give more neighbours of it to retain, or fewer things to forget"
        )
    if after.left > NOTHING:
        found.append(
            f"{100 * after.left:.0f} % of what was known of the forget set is left (mean probability "
            f"{before.known:.2f} before, {after.known:.2f} after): try more trials, or give the facts in more phrasings"
        )
    return found


def _told(one: Tried) -> dict[str, Any]:
    scores = None if one.scores is None else one.scores.row()
    return {"number": one.number, "candidate": one.candidate.recipe(), "scores": scores}


def _depends(request: Request, options: ForgetOptions) -> dict[str, str]:
    """What a trial's numbers depend on, as hashes; the number of trials is not among it."""
    settings = {name: value for name, value in asdict(options).items() if name not in ("trials", "study", "progress")}
    settings["precision"] = resolved(options.precision, device_of(request.model))
    code = [one for one in resources.files("mnemotomy.forget").iterdir() if one.name.endswith(".py")]
    return {
        "model": Observed(request.model, request.tokenizer).fingerprint,
        "forget set": _digest(request.forget),
        "retain set": key(_digest(request.retain), _digest(request.checks)),
        "settings": key(repr(sorted(settings.items(), key=str))),
        "version": key(versions(), _optuna(), {one.name: one.read_text(encoding="utf-8") for one in code}),
    }


def _digest(examples: Sequence[TextExample]) -> str:
    return key([[(turn.role, turn.content) for turn in one.turns] for one in examples])


def _optuna() -> str:
    import optuna

    return str(optuna.__version__)
