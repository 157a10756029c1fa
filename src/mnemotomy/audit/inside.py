"""What still stands inside a model where it is about to answer: fresh probes, logit lens, familiarity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.audit.attack import Attack, best, register
from mnemotomy.audit.base import Case, Part, Reading, example
from mnemotomy.audit.judging import SHORT, telling_tokens
from mnemotomy.audit.observing import States, states_at_prompts, states_before
from mnemotomy.audit.unknown import GUESSES, lacks_unknown, spread, unknown
from mnemotomy.core.errors import ModelError
from mnemotomy.core.modules import blocks_by_name, device_of, observing
from mnemotomy.metrics.fresh_probe import Kind, held_out_hits
from mnemotomy.text.encoding import encode_answer
from mnemotomy.text.probes import Probe

_FOLDS = 5
_SHOWN = 8
_DECODED = 256  # states, of which the logits are held at once


class _Row(NamedTuple):
    """A prompt for a fresh probe; a group is never on both sides of a fold, ``asked`` is the question it counts for."""

    probe: Probe
    group: int
    asked: int | None


@dataclass(frozen=True)
class FreshProbe(Attack):
    """A probe that reads the answer from the state before it, on questions that it was not fitted to.

    It is fitted on forgotten and retained questions that share answers, five-fold. If most forgotten answers belong to
    one question alone, it is fitted on some phrasings of the forgotten questions and read on others. The floor is read
    likewise from hold-out questions; without them, by probes fitted to permuted answers. Both take their best block.

    Attributes:
        phrasings: the most per forgotten question.
        fitted: the most retained questions.
        blocks: the most blocks, spread evenly over the model.
    """

    phrasings: int = 3
    fitted: int = 120
    blocks: int = 30
    kind: ClassVar[Kind]
    part: ClassVar[Part] = "inside"
    cost: ClassVar[int] = 2
    unit: ClassVar[str] = "share of answers read"
    says: ClassVar[str] = "A probe reads {after} of the forgotten answers from the states of its best block"

    def lacks(self, case: Case) -> str | None:
        """Several answers to tell apart, and questions or phrasings to fit the probe on."""
        if self._by_question(case.forget, case) or self._by_phrasing(case.forget, case):
            return None
        return "needs answers that several questions share, or 'paraphrased_question' in the lines of the forget set"

    def read(self, model: nn.Module, case: Case) -> Reading:
        """The share of each question's phrasings from which its answer is read, at the best block."""
        make = self._by_question if self._by_question(case.forget, case) else self._by_phrasing
        rows, others = make(case.forget, case), make(case.holdout, case)
        states = self._states(model, case, rows)
        found = self._hits(states, rows, case.seed)
        if others:
            floors = self._hits(self._states(model, case, others), others, case.seed)
        else:
            floors = self._hits(states, rows, case.seed, shuffled=True)
        return best(found, floors, apart=True)

    def _states(self, model: nn.Module, case: Case, rows: Sequence[_Row]) -> dict[int, Tensor]:
        states = states_at_prompts(model, case, [row.probe for row in rows]).blocks
        return {block: states[block - 1] for block in _spread_blocks(len(states), self.blocks)}

    def _hits(
        self, states: dict[int, Tensor], rows: Sequence[_Row], seed: int, *, shuffled: bool = False
    ) -> dict[str, tuple[float, ...]]:
        labels, groups = [_answer(row.probe) for row in rows], [row.group for row in rows]
        found = {}
        for block, features in states.items():
            hits = held_out_hits(features, labels, groups, kind=self.kind, seed=seed, shuffled=shuffled)
            by_question: dict[int, list[float]] = {}
            for row, hit in zip(rows, hits.tolist(), strict=True):
                if row.asked is not None:
                    by_question.setdefault(row.asked, []).append(float(hit))
            found[f"block {block}"] = tuple(sum(some) / len(some) for some in by_question.values())
        return found

    def _by_question(self, probes: Sequence[Probe], case: Case) -> list[_Row]:
        """Rows to be read on questions that the probe has not seen; none if their answers are not shared."""
        known = case.retain[: self.fitted]
        answers = [_answer(one) for one in (*probes, *known)]
        shared = [number for number, one in enumerate(probes) if answers.count(_answer(one)) > 1]
        if 2 * len(shared) <= len(probes) or len(set(answers)) < 2:
            return []
        rows = [_Row(one, number, number) for number in shared for one in self._phrased(probes[number])]
        helping = [(number, one) for number, one in enumerate(known) if answers.count(_answer(one)) > 1]
        return rows + [_Row(one, len(probes) + number, None) for number, one in helping]

    def _by_phrasing(self, probes: Sequence[Probe], case: Case) -> list[_Row]:
        """Rows to be read on phrasings that the probe has not seen."""
        several = [(number, some) for number, some in enumerate(map(self._phrased, probes)) if len(some) > 1]
        rows = [_Row(one, slot, number) for number, some in several for slot, one in enumerate(some)]
        return rows if len({_answer(row.probe) for row in rows}) > 1 else []

    def _phrased(self, probe: Probe) -> list[Probe]:
        return [probe, *map(probe.asked, probe.paraphrases)][: self.phrasings]


@register("linear-probe", "Fresh linear probe", "Alain and Bengio 2017, arXiv 1610.01644", kind="linear")
class LinearProbe(FreshProbe):
    """A logistic regression."""


@register("two-layer-probe", "Fresh two-layer probe", "Hewitt and Liang 2019, arXiv 1909.03368", kind="two-layer")
class TwoLayerProbe(FreshProbe):
    """A network with one hidden layer; it reads fewer blocks, since it takes longer to fit."""

    blocks: int = 6


@register(
    "logit-lens",
    "Logit lens",
    "nostalgebraist 2020, interpreting GPT: the logit lens; Patil et al. 2024, arXiv 2309.17410",
    part="inside",
    unit="1 / rank of the answer",
    percent=False,
    says="At its best block, the telling words of the answers have a mean reciprocal rank of {after}",
)
class LogitLens(Attack):
    """What each block would answer if it were the last: the ranks of the answer's telling words.

    Every block's state goes through the final norm and the output head. A changed head hides the answer from this
    attack, not from a probe.

    How an answer begins ("Yes", "The", a word of the question) follows from the form of the question, so only telling
    words count, each token behind the true ones before it. The rank of a word is that of its worst token: whoever tries
    the likeliest k at each step (Patil et al. 2024) writes the word if k is at least that. As where a model writes
    (``judging.said``), a short answer counts in full, by its worst word, and of a long one the mean over its words. The
    floor has the telling words of other answers behind the same beginnings.

    Attributes:
        words: the most that are read of a long answer, spread evenly over it.
        blocks: the most blocks, spread evenly over the model.
    """

    words: int = 8
    blocks: int = 12

    def lacks(self, case: Case) -> str | None:
        return lacks_unknown(case, "what rank a guess has")

    def read(self, model: nn.Module, case: Case) -> Reading:
        """The reciprocal ranks at the best block; examples say its number and the rank of each word."""
        decode, others = _lens(model), unknown(case, case.forget, GUESSES, framed=True)
        own, *guessed = (self._of_words(model, case, decode, probes) for probes in (case.forget, *others))
        floor = torch.stack([_reciprocal(ranks) for ranks in guessed]).mean(0)
        names = [f"block {number}" for number in _spread_blocks(len(blocks_by_name(model)), self.blocks)]
        found = best(*(dict(zip(names, map(tuple, one.tolist()), strict=True)) for one in (_reciprocal(own), floor)))
        block = max(found.curve, key=lambda one: found.curve[one])
        shown = []
        for probe, ranks in zip(case.forget[:_SHOWN], own, strict=False):
            row, words = self._words(case, probe)
            read = zip(words, ranks[names.index(block)].tolist(), strict=True)
            said = [f"{case.tokenizer.decode([row[place] for place in word]).strip()} {rank}" for word, rank in read]
            shown.append(example(probe, found=f"ranks at {block}: {', '.join(said)}"))
        return Reading(found.values, found.curve, found.floor, tuple(shown))

    def _of_words(
        self, model: nn.Module, case: Case, decode: Callable[[Tensor], Tensor], probes: Sequence[Probe]
    ) -> list[Int[Tensor, "blocks words"]]:
        """For each probe, the rank of every telling word of its answer."""
        rows = [self._words(case, probe) for probe in probes]
        texts = [(row, [place for word in words for place in word]) for row, words in rows]
        states = states_before(model, case, texts)
        read = [block - 1 for block in _spread_blocks(len(states.blocks), self.blocks)]
        ranks = _ranks(decode, states._replace(blocks=states.blocks[read]))
        worst = iter(one.amax(1) for one in ranks.split([len(word) for _, words in rows for word in words], dim=1))
        return [torch.stack([next(worst) for _ in words], dim=1) for _, words in rows]

    def _words(self, case: Case, probe: Probe) -> tuple[list[int], list[list[int]]]:
        """The probe's tokens, and the places of each telling word of its answer; all of an answer that has no words."""
        row = encode_answer(case.tokenizer, probe.question, probe.answer, probe.template)
        tokens = row.answer[:-1]  # without the end token
        words = telling_tokens(probe.answer, probe.question, tokens, case.tokenizer.decode, once=True)
        found = spread(words, self.words) or [list(range(len(tokens)))]
        return row.input_ids, [[row.start + place for place in word] for word in found]


@register(
    "familiarity",
    "Familiarity of the subject",
    "Ferrando et al. 2025, arXiv 2411.14257; Marks and Tegmark 2024, arXiv 2310.06824",
    part="inside",
    unit="0 like unseen, 1 like known subjects",
    bounded=False,
    percent=False,
    says="Between unseen subjects (0) and known ones (1), the states of forgotten questions stand at {after}",
)
class Familiarity(Attack):
    """How far a question's state stands from those of unseen subjects towards those of known ones.

    At every block, 0 is the mean of hold-out questions and 1 that of retained ones, along the line between them, in
    units of each direction's spread. The block is the one that best tells retained from hold-out questions; both are
    placed by means that do not include them (five-fold).
    """

    def lacks(self, case: Case) -> str | None:
        """Enough questions of both kinds to compare with."""
        if min(len(case.retain), len(case.holdout)) < 2 * _FOLDS:
            return f"needs at least {2 * _FOLDS} questions each in the retain set and in the hold-out"
        return None

    def read(self, model: nn.Module, case: Case) -> Reading:
        """The places of forgotten questions; the floor has those of the hold-out."""
        sets = (case.forget, case.retain, case.holdout)
        forget, known, unseen = (states_at_prompts(model, case, one).blocks.double() for one in sets)
        places = [_places(*block) for block in zip(forget, known, unseen, strict=True)]
        apart = [float((one[1].mean() - one[2].mean()) / (one[1].std() + one[2].std())) for one in places]
        block = int(np.argmax(apart))
        curve = {f"block {number}": float(one[0].mean()) for number, one in enumerate(places, start=1)}
        return Reading(tuple(places[block][0].tolist()), curve, tuple(places[block][2].tolist()))


def _answer(probe: Probe) -> str:
    return probe.answer.strip(" .\n").casefold()


def _spread_blocks(count: int, most: int) -> list[int]:
    """At most so many of the blocks 1 to ``count``, spread evenly, the last one among them."""
    return sorted({round(one) for one in np.linspace(count, 1, min(most, count))})


def _lens(model: nn.Module) -> Callable[[Float[Tensor, "n d"]], Float[Tensor, "n vocabulary"]]:
    """From a block's output to logits: the norm after the last block, and the output head.

    Raises:
        ModelError: the model has no output head.
    """
    head = cast(Any, model).get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if head is None:
        raise ModelError(f"{type(model).__name__} has no output head for the logit lens; leave out 'logit-lens'")
    owner, _, _ = next(iter(blocks_by_name(model))).rpartition(".")[0].rpartition(".")
    norms = [one for one in model.get_submodule(owner).children() if "norm" in type(one).__name__.lower()]
    norm = norms[-1] if norms else nn.Identity()  # norms of embeddings stand before
    dtype, device = head.weight.dtype, device_of(model)

    def decode(states: Tensor) -> Tensor:
        with observing(model):
            return head(norm(states.to(device, dtype))).float().cpu()

    return decode


def _ranks(decode: Callable[[Tensor], Tensor], states: States) -> Int[Tensor, "blocks n"]:
    """The rank of each token at each block; 1 is the likeliest."""
    found = []
    for block in states.blocks:
        parts = zip(block.split(_DECODED), states.tokens[:, None].split(_DECODED), strict=True)
        found.append([(logits > logits.gather(1, own)).sum(1) + 1 for some, own in parts for logits in [decode(some)]])
    return torch.stack([torch.cat(one) for one in found])


def _reciprocal(ranks: Sequence[Int[Tensor, "blocks words"]]) -> Float[Tensor, "blocks n"]:
    """One number per answer: that of the worst word of a short one, the mean over the words of a long one."""
    parts = [1.0 / one for one in ranks]
    return torch.stack([one.amin(1) if one.shape[1] <= SHORT else one.mean(1) for one in parts], dim=1)


def _places(
    forget: Float[Tensor, "n d"], known: Float[Tensor, "k d"], unseen: Float[Tensor, "u d"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the rows stand between the means of ``unseen`` (0) and ``known`` (1), on lines fitted without them."""
    fold_known, fold_unseen = (torch.arange(len(some)) % _FOLDS for some in (known, unseen))
    places = [torch.zeros(_FOLDS, len(forget)), torch.zeros(len(known)), torch.zeros(len(unseen))]
    for fold in range(_FOLDS):
        ours, theirs = known[fold_known != fold], unseen[fold_unseen != fold]
        both = torch.cat([ours - ours.mean(0), theirs - theirs.mean(0)])
        spread = both.std(0).clamp_min(1e-6 * float(both.std()) + 1e-12)
        line = (ours.mean(0) - theirs.mean(0)) / spread
        for rows, target, where in (
            (forget, places[0], (fold,)),
            (known[fold_known == fold], places[1], fold_known == fold),
            (unseen[fold_unseen == fold], places[2], fold_unseen == fold),
        ):
            target[where] = (((rows - theirs.mean(0)) / spread) @ line / (line @ line).clamp_min(1e-12)).float()
    return places[0].mean(0), places[1], places[2]
