"""Forgetting in one call: what to retain, moments, candidates, a search, a choice, and what it cost."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import nn

from mnemotomy.core.clock import Clock
from mnemotomy.core.errors import DataError, SurgeryWarning
from mnemotomy.core.image_models import reads_images
from mnemotomy.core.keys import key
from mnemotomy.core.locks import locked
from mnemotomy.core.models import check_language_model
from mnemotomy.core.modules import device_of, window_of
from mnemotomy.data.fact import Fact
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.sites import Selector, select_sites
from mnemotomy.forget.found import FORGET, RETAIN, Found, search, settings_of
from mnemotomy.forget.general import general_rows
from mnemotomy.forget.images import forget_images
from mnemotomy.forget.knowledge import unknown_concern
from mnemotomy.forget.measuring import Judge
from mnemotomy.forget.options import ForgetOptions
from mnemotomy.forget.reference import (
    BESIDE,
    NEIGHBOURS,
    ROWS_PER_DIRECTION,
    WRITTEN_PER_NEIGHBOUR,
    neighbours,
    rows_of,
    tokens_written,
    written_texts,
)  # fmt: skip
from mnemotomy.forget.request import Request, split
from mnemotomy.forget.subjects import Naming, factored_at_subjects, names_of, sites_at_subjects
from mnemotomy.forget.workshop import TextWorkshop
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.observe.questions import Observed
from mnemotomy.observe.writings import Writings
from mnemotomy.text.batches import Source, batches, examples_of
from mnemotomy.text.encoding import MAX_LENGTH
from mnemotomy.text.records import TextExample, check_apart
from mnemotomy.text.template import TemplateSettings

FEW = 5
"""With fewer examples to retain, some of the model's own texts are kept apart to measure on."""


def forget(
    model: nn.Module,
    tokenizer: Any = None,
    forget: Any = None,
    retain: Any = None,
    options: ForgetOptions | None = None,
    *,
    neighbours: Iterable[Fact] = (),
) -> Found:
    """Search for the edit that forgets most and costs least; the model itself stays as it is.

        found = mt.forget(model, tokenizer, "alice.jsonl")
        edited = found.edit.apply(model)
        found = mt.forget(classifier, forget=(images, labels), retain=(other_images, other_labels))

    Candidates are edits over one set of moments: the projector, a steep filter, the paper's μ and its weight norm, each
    with outputs or without, on all projections or some; where each line names its subject, in the lower MLPs at the
    last token of the name; and the two-sided edit. Each is tried on the model in place and undone. What is left of the
    forget set is measured in other words than those of the moments, damage on examples that were kept apart and on
    general sentences. Without a retain set, or with one of too few tokens, the model's own answers about neighbours of
    what is forgotten and texts that it writes itself are retained. For a classifier, some images of both sets are kept
    apart and measured on, and ``automatic`` and the strength of the head are tried too.

    Args:
        model: a causal language model of transformers, or an image classifier: any module from images to logits.
        tokenizer: the model's; of a classifier, the image processor if images are in files, else None.
        forget: a JSON Lines file, or its lines (``mnemotomy.batches``). For a classifier, images with their classes:
            ``Examples``, a pair of tensors, batches of such pairs, or a folder or parquet file
            (``data.images.list_images``).
        retain: likewise; for a classifier, always given.
        options: how to search.
        neighbours: facts about other subjects, which edits at the subjects should spare; their answers are not read.

    Warns:
        SurgeryWarning: the forget set is hardly known, few rows, little forgotten, or kept answers lost, which
            ``found.concerns`` has too; or neighbours outside the retain set lost, as in ``found.cautions``.
        UserWarning: the study has trials of another search, which are not used.

    Raises:
        DataError: another search uses the study.
        MnemotomyError: data or model are not valid.
        KeyboardInterrupt: with a study, the trials are kept, and what the model wrote; the same call resumes.
    """
    options = options or ForgetOptions()
    if forget is None:
        raise DataError("say what to forget: forget=, examples or a file of them")
    others, images = names_of(neighbours), reads_images(tokenizer)
    if others and images:
        raise DataError("neighbours are names in texts, and this model reads images; leave them out")
    with contextlib.ExitStack() as held:
        if options.study is not None:
            held.enter_context(locked(options.study.with_name(f"{options.study.name}.lock"), str(options.study)))
        if images:
            return forget_images(model, tokenizer, forget, retain, options)
        return _forget_texts(model, tokenizer, forget, retain, options, others)


def _forget_texts(
    model: nn.Module,
    tokenizer: Any,
    forget: Source,
    retain: Source | None,
    options: ForgetOptions,
    neighbours: Sequence[TextExample],
) -> Found[Request]:
    check_language_model(model, tokenizer)
    model.eval()
    clock, two_sided, examples = Clock(), options.tries_two_sided(model), examples_of(forget)
    kept = None if retain is None else examples_of(retain)
    sites, why = sites_at_subjects(model, examples, kept or [], _sites(options), options.layers, neighbours)
    unknown = unknown_concern(model, tokenizer, examples, options.template, options.seed)
    if unknown:
        warnings.warn(unknown, SurgeryWarning, stacklevel=4)
    hashed = Observed(model, tokenizer).fingerprint
    with _resuming(Writings(options.written, (hashed,), device_of(model))) as writings:
        request = prepare(model, tokenizer, examples, kept, options, writings)
        clock.lap("prepare")
        subjects, note = None, why
        if sites:
            sizes = options.batch_size, _length(model)
            naming = Naming(tokenizer, request.forget, request.retain, neighbours, options.template, *sizes)
            subjects, note = factored_at_subjects(model, naming, sites, progress=options.progress)
        if note:
            request = replace(request, notes=(*request.notes, note))
        problem = TextProblem(
            model, tokenizer, list(request.forget), list(request.retain), options.template, seed=options.seed
        )
        return search(
            request,
            _moments(request, options),
            lambda: Judge(request, options.precision),
            lambda factored: TextWorkshop(
                factored, problem, two_sided=two_sided, places=options.places, subjects=subjects
            ),
            options,
            settings_of(
                options,
                _sites(options),
                positions=options.positions,
                template=asdict(TemplateSettings.of(options.template)),
                precision=options.precision,
                two_sided=two_sided,
                **({} if subjects is None else {"subjects": sites}),
            ),
            clock,
            depends={
                "model": hashed,
                "forget set": _digest(request.forget),
                "retain set": key(_digest(request.retain), _digest(request.checks)),
                "subjects": key([one.subject for one in (*examples, *request.retain)], sites, _digest(neighbours)),
            },
            concerns=[unknown] if unknown else [],
        )


@contextlib.contextmanager
def _resuming(writings: Writings) -> Iterator[Writings]:
    """Have an interruption say that what the model wrote is kept, unless it says that more is."""
    try:
        yield writings
    except KeyboardInterrupt as interrupt:
        if interrupt.args or not writings.any:
            raise
        raise KeyboardInterrupt(f"the same command resumes from {writings.folder}") from None


def prepare(
    model: nn.Module,
    tokenizer: Any,
    forget: Sequence[TextExample],
    retain: Sequence[TextExample] | None,
    options: ForgetOptions,
    writings: Writings | None = None,
) -> Request:
    """The request with a retain set of enough tokens, some of which is kept apart.

    Args:
        writings: keep what the model writes; by default nothing is kept.
    """
    request = Request(model, tokenizer, list(forget), [], [], options.template, options.seed)
    notes, how = list[str](), (options.template, options.seed)
    examples, beside = list(retain or ()), list[TextExample]()
    check_apart(FORGET, forget, "retain", examples)
    if examples:
        asked = request.askable([one for one in forget if one.form != "text"])
        known = {one.question for one in request.askable(examples)}
        found = neighbours(model, tokenizer, asked, *how, BESIDE, writings)
        beside = [one for one in found if one.question not in known]
    else:
        examples = neighbours(model, tokenizer, request.askable(request.forget), *how, writings=writings)
        notes.append(f"no retain set was given: {len(examples)} neighbours of the forget set, answered by the model")
    have, wanted, what = rows_for_moments(model, tokenizer, examples, options)
    own = []
    if have < wanted:
        own = written_texts(model, tokenizer, wanted - have, *how, writings)
        notes.append(
            f"the retain set is small for this model ({have} {what}, where {wanted} are wanted), so {len(own)} texts "
            "that the model wrote were added to it"
        )
    if len(examples) < FEW:  # what a model samples is hardly what it would answer: the worse set to measure on
        examples, own = examples + own, []
    part, checks = split(examples, options.seed)
    return replace(request, retain=part + own, checks=checks, notes=tuple(notes), beside=beside)


def rows_for_moments(
    model: nn.Module, tokenizer: Any, retain: Sequence[TextExample], options: ForgetOptions
) -> tuple[int, int, str]:
    """How many rows a retain set gives to the moments, how many they should have, and what is counted."""
    general = bool(general_rows(model, tokenizer))  # a model that writes more than its facts has more to lose
    around, positions = options.template, options.positions
    have = rows_of(tokenizer, retain, around, positions, _length(model), different=general) if retain else 0
    sites = select_sites(model, _sites(options), options.layers).values()
    widest = max(int(site.weight().shape[-1]) for site in sites)
    return have, round(ROWS_PER_DIRECTION * widest), "different pairs of tokens" if general else "tokens"


def tokens_to_write(
    model: nn.Module, tokenizer: Any, forget_tokens: float, retain: Sequence[TextExample], options: ForgetOptions
) -> float:
    """About how many tokens the model will write to retain, for ``cost.cost_of``.

    Args:
        forget_tokens: of an example to forget, on average.
    """
    have, wanted, _ = rows_for_moments(model, tokenizer, retain, options)
    made_up = 0.0 if retain else NEIGHBOURS * WRITTEN_PER_NEIGHBOUR * forget_tokens
    return made_up + tokens_written(tokenizer, max(0, wanted - have), options.template)


def _moments(request: Request, options: ForgetOptions) -> Moments:
    data = {
        name: batches(
            request.tokenizer,
            list(examples),
            template=options.template,
            positions=options.positions,
            batch_size=options.batch_size,
            max_length=_length(request.model),
        )
        for name, examples in ((FORGET, request.forget), (RETAIN, request.retain))
    }
    return collect(
        request.model,
        data,
        sites=_sites(options),
        layers=options.layers,
        options=CollectOptions(progress=options.progress),
    )


def _length(model: nn.Module) -> int:
    return min(MAX_LENGTH, window_of(model) or MAX_LENGTH)


def _sites(options: ForgetOptions) -> Selector:
    return "all-linear" if options.sites is None else options.sites


def _digest(examples: Sequence[TextExample]) -> str:
    return key([[(turn.role, turn.content) for turn in one.turns] for one in examples])
