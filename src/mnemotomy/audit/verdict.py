"""The verdict in four words. Intervals decide, not point values.

A trace is the share of what the model knew before that an attack still gets (``statistics.compare``). With its 95 %
interval:

- something **is left** if the interval lies above ``LEFT``;
- it **is gone** if the interval lies below ``GONE``;
- else the attack has not decided it.

Attacks that show signs of having learned, but no answer (membership, and ``SIGNS``), and those that train say that it
is gone below ``FAINT``: some dozens of questions do not tell more. An attack whose numbers were less than ``WEAK``
above the floor (the gold model's, if there is one) before need not decide. Of many samples, the number decides that
tells knowing from guessing (``asking.chosen``).

In this order:

1. **not forgotten**: something is left when the model is asked the questions as they are (``DIRECT``).
2. **hidden**: it is not, but something is left by other words or another way of asking, inside the model, or after a
   little training or damage to the weights. The knowledge is there and does not come out. A refusal is hidden
   knowledge, even one that other words get around. Signs of having learned do not count here.
3. **as never known**: every attack says that it is gone, all parts but damage were run, and a gold model or a hold-out
   set says what not knowing looks like.
4. **forgotten here**: it is gone when the model is asked the questions as they are, and nothing is left by any other
   attack that was run; what was not run, or did not decide, is named.

There is no verdict if the model did not answer the questions before, if nobody asked it plainly, or if too few
questions were asked to say that it is gone. Damage is a separate sentence.

The reason says where one question more or less could turn the word, and where the hold-out is so much harder or easier
than the forget set that the word hangs on it. Neither changes the word.

A trace **lies below** what is not known if its interval lies below ``-LEFT``: the answers were pushed away, and whoever
turns the test round can read that. It does not say that the answers are left, and is named; a model that never knew
them would not show it, so nothing is *as never known* with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mnemotomy.audit.base import TITLES, Finding, Part
from mnemotomy.audit.meaning import QUESTIONS, TO_DO, Asked, Word

LEFT, GONE, FAINT, WEAK = 0.1, 0.25, 0.5, 0.45
ENOUGH = 25
"""Questions that the model answered before, about, for a verdict. In simulations of models with nothing left, 20 of 20
decide in nine of ten cases and 25 of 25 in all; where half of the questions were answered, 25 of 50 in four
of five if 2 % is said afterwards, as by a model that knows nothing, and in one of four if 8 % is."""

_QUESTION = 0.75
"""By how much one of n questions moves a bound near the limits, in units of 1/n (of 20 to 40, Jeffreys' intervals)."""

DIRECT = ("greedy", "image-plain")
SIGNS = ("familiarity",)
_SEARCHED: tuple[Part, ...] = ("asking", "inside", "membership", "relearn")


_HOLD_OUT = (
    "copy the forgotten lines, put other names and facts into them that no model has learned, keep all other words, "
    "and repeat the audit with --holdout FILE"
)


@dataclass(frozen=True)
class Verdict:
    """What an audit says.

    Attributes:
        word: one of the four; None if it cannot be told.
        reason: a sentence.
        damage: a sentence.
        meaning: of the word, in a sentence.
        advice: what to do where the verdict hangs on one attack, or attacks lack a hold-out; may be empty.
    """

    word: Word | None
    reason: str
    damage: str
    meaning: str
    advice: str = ""

    @property
    def line(self) -> str:
        """The verdict's words."""
        return self.word or "no verdict"

    @property
    def follows(self) -> str:
        """What the verdict means for a request to delete."""
        return TO_DO[self.line]

    @property
    def to_do(self) -> str:
        """The same, and what to do next."""
        return f"{self.follows} {self.advice}".strip()


def verdict(
    findings: Sequence[Finding],
    *,
    yardstick: bool,
    asked: Asked = QUESTIONS,
    skipped: Mapping[str, str] | None = None,
    left_out: int = 0,
) -> Verdict:
    """The verdict on findings.

    Args:
        findings: of all attacks that were run.
        yardstick: whether there is a gold model or a hold-out set.
        asked: how to tell what the model was asked.
        skipped: why attacks could not run, by the words for each.
        left_out: how many attacks on what was forgotten were not asked for.
    """
    searched = [one for one in findings if one.part != "damage"]
    word, reason, telling = _word(searched, yardstick, asked, left_out)
    deciding = [one for one in searched if not _is_sign(one)]
    reason = " ".join(filter(None, (reason, _close(deciding, word, asked), _unlike(deciding, word))))
    meaning = asked.meaning[word] if word else "This audit cannot say whether it was forgotten."
    advice = []
    if word and telling and asked is QUESTIONS and (len(telling) == 1 or word == "forgotten here"):
        advice = [_alone(telling, word, yardstick)]
    lack = [name for name, why in (skipped or {}).items() if "hold-out" in why]
    if lack and word in ("hidden", "forgotten here"):
        how = "" if _HOLD_OUT in "".join(advice) else f": {_HOLD_OUT}"
        advice.append(f"Without a hold-out, {', '.join(lack)} could not run{how}.")
    if word == "hidden" and not yardstick and "hold-out" not in "".join(advice):
        advice.insert(0, "There was no hold-out: audit with one first, as it shows what not knowing looks like.")
    return Verdict(word, reason, damage_of(findings), meaning, " ".join(advice))


def _alone(telling: Sequence[Finding], word: Word, yardstick: bool) -> str:
    """What to do where one attack alone finds something, or where some have not decided it."""
    one = telling[0]
    own = "'mnemotomy chat BEFORE --write FILE' writes the model's own answers"
    few = f"add questions to the forget file, as {one.questions} leave something to chance ({own})"
    if word == "forgotten here":
        who = f"Only {one.title!r} has" if len(telling) == 1 else f"{len(telling)} attacks have"
        return f"{who} not decided it, so that some of it may be there: {few}."
    if one.part == "asking":
        return (
            f"Only {one.title!r} gets it back: give such questions as 'paraphrased_question' in the forget file, and "
            "repeat 'mnemotomy forget' with it."
        )
    then = "if it still finds it, repeat 'mnemotomy forget' with more --trials, such as 48, or train without the data"
    if yardstick:
        return f"Only {one.title!r} finds it: {few}; {then}."
    return (
        f"Only {one.title!r} finds it, and no hold-out shows what it finds where nothing is known: {_HOLD_OUT} and "
        f"--only greedy --only {one.attack}; {then}."
    )


def _close(deciding: Sequence[Finding], word: Word | None, asked: Asked) -> str:
    """That one question more or less could turn the verdict, and what would settle it; else nothing."""
    edges = [(one, one.trace.low, LEFT) for one in deciding if one.trace is not None]
    if word == "not forgotten":
        edges = [edge for edge in edges if edge[0].attack in DIRECT]
    edges = sorted(edges, key=lambda edge: -edge[1])[:1]  # the strongest evidence decides
    if word in ("forgotten here", "as never known"):
        plain = [(one, one.trace.high, GONE) for one in deciding if one.trace is not None and one.attack in DIRECT]
        edges += [edge for edge in plain if edge[1] < GONE]  # else it was too weak to decide
    for one, bound, limit in edges if word else ():
        if one.questions and abs(bound - limit) * max(_above(one), WEAK) * one.questions <= _QUESTION:
            end = f"begins at {100 * bound:.1f} %, and more than {100 * LEFT:.0f} % counts as left"
            if limit == GONE:
                end = f"ends at {100 * bound:.1f} %, and less than {100 * GONE:.0f} % counts as gone"
            return (
                f"Close: by {one.title!r}, the interval of what is left {end}. One of the {one.questions} "
                f"{asked.things} can turn that; more settle it, and another --seed shows how much is chance."
            )
    return ""


def _unlike(deciding: Sequence[Finding], word: Word | None) -> str:
    """That the hold-out is harder or easier than the forget set, and whether the verdict hangs on it; else nothing."""
    moved = {one.attack: _moved(one) for one in deciding}
    turned = [one for one in deciding if moved[one.attack] > LEFT and (one.trace is None or one.trace.low <= LEFT)]
    if word in ("hidden", "not forgotten"):
        left = [one for one in deciding if one.trace is not None and one.trace.low > LEFT]
        turned = [one for one in left if word == "hidden" or one.attack in DIRECT]
        turned = [] if any(moved[one.attack] > LEFT for one in turned) else turned
    differ = [one for one in deciding if one.part == "relearn" and one.likeness is not None and one.likeness.differ]
    if word is None or not (turned or differ):
        return ""
    one = max(turned, key=lambda one: moved[one.attack]) if turned else differ[0]
    assert one.likeness is not None
    forget, holdout, gap = one.likeness
    told = "harder" if gap.value > 0.0 else "easier"
    finds = f"answers to other questions, {one.title!r} finds"
    if one.part == "relearn":
        finds = "the tokens of answers to other questions, the model predicts"
    may = f"so {word!r} may be wrong" if turned else f"which moves single numbers, but would not turn {word!r}"
    return (
        f"The hold-out is {told} than the forget set, {may}: of {finds} {100 * forget:.0f} % in the "
        f"forget set and {100 * holdout:.0f} % in the hold-out. Write a hold-out of the same form: the "
        "forgotten lines with other names and facts, all other words kept."
    )


def _moved(one: Finding) -> float:
    """Where the interval of a trace would begin by a hold-out that is as hard as the forget set.

    The floors are moved by the difference, if it is beyond doubt: a trace ``t`` of a model that was ``a`` above its
    floor becomes ``(t * a - g) / (a - g)`` by a difference of ``g``.
    """
    above, low = _above(one), -1.0 if one.trace is None else one.trace.low
    if one.likeness is None or not one.likeness.differ:
        return low
    gap = one.likeness.gap.value
    reached = low * above if one.trace is not None else one.means["after"].low - one.means["floor"].value
    return (reached - gap) / (above - gap) if above - gap > LEFT else -1.0


def _word(
    searched: Sequence[Finding], yardstick: bool, asked: Asked, left_out: int
) -> tuple[Word | None, str, Sequence[Finding]]:
    """The word, why, and the attacks that it hangs on, if it can be otherwise without them."""
    decided = {one.attack: one for one in searched if one.trace is not None}
    remains = [one for one in decided.values() if one.trace is not None and one.trace.low > LEFT and not _is_sign(one)]
    plain = [one for one in searched if one.attack in DIRECT]
    if not plain:
        return None, "The model was not asked plainly; run the part 'asking'.", []
    if not any(one.attack in decided for one in plain):
        return (
            None,
            f"It is not beyond doubt that the model before forgetting {asked.knows}, so nothing can be said of "
            f"forgetting; {asked.more}.",
            [],
        )
    direct = [one for one in remains if one.attack in DIRECT]
    if direct:
        return "not forgotten", f"The model still {asked.gives}. {direct[0].sentence}", []
    if remains:
        strongest = max(remains, key=lambda one: one.trace.low if one.trace else 0.0)
        return "hidden", f"The model does not {asked.withholds}. {strongest.sentence}", remains
    unsure = [one for one in plain if one.attack in decided and not _is_gone(one)]
    if unsure:
        return None, _why_undecided(unsure[0], list(decided.values()), asked), []
    still = [one for one in decided.values() if not _is_gone(one)]
    signs = [one.title for one in still if _is_sign(one) and one.trace is not None and one.trace.low > LEFT]
    undecided = [one for one in still if one.title not in signs]
    open_ = [one.title for one in undecided]
    below = [one.title for one in decided.values() if one.trace is not None and one.trace.high < -LEFT]
    missing = [part for part in _SEARCHED if part not in {one.part for one in searched}]
    why = [f"Not run: {', '.join(map(_in_words, missing))}."] if missing else []
    why += [f"Attacks that were not asked for: {left_out}."] if left_out else []
    why += [f"Not decided: {'; '.join(open_)}."] if open_ else []
    learned = "Signs that it was learned once, from which no answer can be read, so that they do not decide"
    why += [f"{learned}: {'; '.join(signs)}."] if signs else []
    pushed = "Less is found than where nothing is known, which shows that something was removed, but not what"
    why += [f"{pushed}: {'; '.join(below)}."] if below else []
    why += [] if yardstick else [f"There is {asked.lacking} to compare with."]
    blank = len(searched) - len(decided)
    idle = f"Of the {len(searched)} attacks, {blank} can show nothing: by them it was not clearly known before either."
    ends = [idle] if blank else []
    if why:
        return "forgotten here", " ".join(["No attack that was run gets it back beyond doubt.", *why, *ends]), undecided
    return "as never known", " ".join(["No attack tells the model from one that never knew it.", *ends]), []


def _why_undecided(plain: Finding, decided: Sequence[Finding], asked: Asked) -> str:
    """That asking plainly left it open, how many more it takes, and which attacks decided."""
    known = round(plain.questions * plain.means["before"].value) if "before" in plain.means else 0
    of = f"Of {plain.questions} {asked.things}, the model {asked.knew} about {known} before"
    if not known:
        why = f"It is open whether the model still {asked.gives}"
    elif known < ENOUGH:
        why = f"{of}, too few to tell whether it still {asked.gives}"
    else:
        why = f"{of}, and what it says now is too near to the limit of {100 * GONE:.0f} %"
    gone = [one.title for one in decided if one.trace is not None and one.trace.high < _most(one)]
    still = [one.title for one in decided if one.title not in gone]
    parts = [f"{why}. {plain.sentence}"]
    parts += [f"With about {ENOUGH} that it {asked.knew} before, most cases are decided: {asked.more}."]
    parts += [f"Decided to be gone: {'; '.join(gone)}."] if gone else []
    return " ".join([*parts, f"Not decided: {'; '.join(still)}."])


def _is_sign(finding: Finding) -> bool:
    return finding.part == "membership" or finding.attack in SIGNS


def _is_gone(finding: Finding) -> bool:
    """Whether the interval lies low enough, or the attack is too weak to ask for it."""
    return _above(finding) < WEAK or (finding.trace is not None and finding.trace.high < _most(finding))


def _above(finding: Finding) -> float:
    """How far the model before was above the floor."""
    means = finding.means
    floor = means.get("gold") or means.get("floor")  # as for the trace: a gold model is the floor of all
    return means["before"].value - floor.value if floor is not None and "before" in means else 1.0


def _in_words(part: Part) -> str:
    """The title of a part, with its name for ``--only`` where that is another."""
    title = TITLES[part].lower()
    return title if title == part else f"{title} ({part})"


def _most(finding: Finding) -> float:
    """What the interval has to lie below."""
    return FAINT if _is_sign(finding) or finding.part == "relearn" else GONE


def damage_of(findings: Sequence[Finding]) -> str:
    """What got worse, in a sentence."""
    measured = [one for one in findings if one.part == "damage"]
    if not measured:
        return "Damage was not measured."
    harmful = [one.sentence for one in measured if one.harm]
    if not harmful:
        return f"No damage was found ({', '.join(one.title.lower() for one in measured)})."
    return "Damage: " + " ".join(harmful)
