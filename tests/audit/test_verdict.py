"""The rules of the verdict, on findings made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnemotomy.audit.attack import left
from mnemotomy.audit.base import Finding, Interval, Part
from mnemotomy.audit.meaning import TO_DO
from mnemotomy.audit.options import AuditOptions
from mnemotomy.audit.report import Report
from mnemotomy.audit.verdict import verdict


def finding(attack: str, part: Part, trace: tuple[float, float, float] | None, harm: bool = False) -> Finding:
    return Finding(
        attack,
        attack,
        part,
        "",
        "share of answers said",
        {},
        None if trace is None else Interval(*trace),
        f"{attack}.",
        harm=harm,
    )


GONE, LEFT, OPEN = (0.0, -0.02, 0.08), (0.5, 0.3, 0.7), (0.1, -0.1, 0.4)
ALL = [
    finding("greedy", "asking", GONE),
    finding("samples", "asking", GONE),
    finding("probe", "inside", GONE),
    finding("min-k", "membership", GONE),
    finding("full", "relearn", GONE),
]


def changed(attack: str, trace: tuple[float, float, float] | None) -> list[Finding]:
    return [replace(one, trace=trace and Interval(*trace)) if one.attack == attack else one for one in ALL]


@pytest.mark.parametrize(
    ("findings", "yardstick", "word"),
    [
        (ALL, True, "as never known"),
        (ALL, False, "forgotten here"),
        (ALL[:3], True, "forgotten here"),
        (changed("samples", OPEN), True, "forgotten here"),
        (changed("samples", LEFT), True, "hidden"),
        (changed("probe", LEFT), True, "hidden"),
        (changed("full", LEFT), True, "hidden"),
        (changed("min-k", LEFT), True, "forgotten here"),
        (changed("min-k", OPEN), True, "as never known"),
        (changed("full", OPEN), True, "as never known"),
        (changed("greedy", LEFT), True, "not forgotten"),
        (changed("greedy", OPEN), True, None),
        (changed("probe", None), True, "as never known"),
        (changed("greedy", None), True, None),
        (ALL[1:], True, None),
        ([], True, None),
    ],
)
def test_the_word(findings: list[Finding], yardstick: bool, word: str | None):
    assert verdict(findings, yardstick=yardstick).word == word


def test_a_weak_attack_need_not_decide():
    means = {"before": Interval(0.3, 0.2, 0.4), "floor": Interval(0.0, 0.0, 0.1)}
    weak = [replace(one, means=means) if one.attack == "samples" else one for one in changed("samples", OPEN)]
    assert verdict(weak, yardstick=True).word == "as never known"


def test_a_gold_model_is_the_floor_of_a_weak_attack():
    means = {"before": Interval(1.0, 0.9, 1.0), "floor": Interval(0.4, 0.3, 0.5), "gold": Interval(0.7, 0.6, 0.8)}
    weak = [replace(one, means=means) if one.attack == "samples" else one for one in changed("samples", OPEN)]
    assert verdict(weak, yardstick=True).word == "as never known"


def test_what_was_not_run_or_not_decided_is_named():
    reason = verdict([ALL[0], replace(ALL[1], trace=Interval(*OPEN))], yardstick=False).reason
    assert "Not run: inside the model (inside), membership, relearning and damaging" in reason
    assert "Not decided: samples" in reason
    assert "no gold model and no hold-out set" in reason


def test_no_verdict_says_how_many_were_known_and_what_decided():
    means = {"before": Interval(0.51, 0.4, 0.6), "after": Interval(0.08, 0.0, 0.2), "floor": Interval(0.02, 0.0, 0.1)}
    plain = replace(changed("greedy", OPEN)[0], means=means, questions=20)
    found = verdict([plain, *ALL[1:4], finding("full", "relearn", (0.3, 0.0, 0.6))], yardstick=True)
    assert found.line == "no verdict"
    reason = found.reason
    assert "Of 20 questions, the model answered about 10 before, too few to tell whether it still says it." in reason
    assert "With about 25 that it answered before, most cases are decided: add questions that it answers" in reason
    assert reason.endswith("Decided to be gone: samples; probe; min-k. Not decided: greedy; full.")
    many = verdict([replace(plain, questions=60)], yardstick=True).reason
    assert "Of 60 questions, the model answered about 31 before, and what it says now is too near to the limit" in many


def test_what_lies_below_not_knowing_is_named_and_is_not_as_never_known():
    found = verdict(changed("min-k", (-0.91, -0.98, -0.79)), yardstick=True)
    assert found.word == "forgotten here"
    assert "which shows that something was removed, but not what: min-k." in found.reason
    assert verdict(changed("min-k", (-0.1, -0.3, 0.08)), yardstick=True).word == "as never known"


def test_a_sentence_says_what_far_below_means():
    assert left(Interval(0.1, -0.1, 0.3)) == "Left of what it knew: 10 % (-10 % to 30 %)."
    assert left(Interval(-0.91, -0.98, -0.79)) == (
        "That is below what is not known, by 91 % of what it knew (79 % to 98 %): not left, but this shows "
        "that something was removed, though not what."
    )


def test_each_verdict_says_what_follows_for_a_request():
    words = [verdict(changed("greedy", trace), yardstick=True) for trace in (GONE, LEFT, OPEN)]
    words += [verdict(changed("probe", LEFT), yardstick=True), verdict(ALL, yardstick=False)]
    assert all(one.to_do == f"{TO_DO[one.line]} {one.advice}".strip() for one in words)
    assert {one.line for one in words} == set(TO_DO)


@pytest.mark.parametrize(
    ("findings", "yardstick", "advice"),
    [
        (
            changed("probe", LEFT),
            False,
            "Only 'probe' finds it, and no hold-out shows what it finds where",
        ),
        (changed("probe", LEFT), False, "repeat the audit with --holdout FILE and --only greedy --only probe"),
        (
            changed("probe", LEFT),
            True,
            "Only 'probe' finds it: add questions to the forget file, as 24",
        ),
        (changed("full", LEFT), True, "repeat 'mnemotomy forget' with more --trials, such as 48, or train without"),
        (changed("samples", LEFT), True, "Only 'samples' gets it back: give such questions as 'paraphrased_question'"),
        (changed("samples", OPEN), True, "Only 'samples' has not decided it, so that some of it may be there"),
    ],
)
def test_a_verdict_that_hangs_on_one_attack_says_what_to_do(findings: list[Finding], yardstick: bool, advice: str):
    found = verdict([replace(one, questions=24) for one in findings], yardstick=yardstick)
    assert advice in found.to_do
    assert found.to_do.startswith(TO_DO[found.line])
    several = [replace(one, trace=Interval(*LEFT)) if one.attack in ("probe", "full") else one for one in findings]
    general = verdict(several, yardstick=yardstick).advice  # which hangs on no attack
    assert general == (
        "" if yardstick else "There was no hold-out: audit with one first, as it shows what not knowing looks like."
    )


@pytest.mark.parametrize(
    ("attack", "trace", "word", "says"),
    [
        ("full", (0.28, 0.104, 0.45), "hidden", "begins at 10.4 %, and more than 10 % counts as left"),
        ("full", (0.26, 0.081, 0.43), "as never known", "begins at 8.1 %, and more than 10 % counts as left"),
        ("greedy", (0.3, 0.12, 0.5), "not forgotten", "begins at 12.0 %, and more than 10 % counts as left"),
        ("greedy", (0.1, 0.01, 0.24), "as never known", "ends at 24.0 %, and less than 25 % counts as gone"),
        ("full", (0.33, 0.16, 0.48), "hidden", ""),
        ("min-k", (0.28, 0.104, 0.45), "as never known", ""),  # a sign does not decide
        ("greedy", OPEN, None, ""),
    ],
)
def test_a_verdict_by_a_hair_says_so(attack: str, trace: tuple[float, float, float], word: str | None, says: str):
    found = verdict([replace(one, questions=20) for one in changed(attack, trace)], yardstick=True)
    assert found.word == word
    assert ("Close: " in found.reason) == bool(says)
    if says:
        assert (
            f"Close: by {attack!r}, the interval of what is left {says}. One of the 20 questions can turn"
            in found.reason
        )
    surer = verdict([replace(one, questions=400) for one in changed(attack, trace)], yardstick=True)
    assert "Close: " not in surer.reason or abs(trace[1] - 0.1) < 0.01


def test_an_attack_too_weak_to_decide_is_not_close():
    means = {"before": Interval(0.4, 0.3, 0.5), "floor": Interval(0.0, 0.0, 0.1)}
    weak = [replace(one, questions=20, means=means) for one in changed("greedy", (0.05, -0.3, 0.28))]
    found = verdict(weak, yardstick=True)
    assert found.word == "as never known"
    assert "Close: " not in found.reason


def test_what_another_attack_finds_beyond_doubt_is_not_close():
    found = [replace(one, questions=20) for one in changed("full", (0.28, 0.104, 0.45))]
    assert "Close: " in verdict(found, yardstick=True).reason
    found[2] = replace(found[2], trace=Interval(*LEFT))
    assert "Close: " not in verdict(found, yardstick=True).reason


def test_attacks_that_lack_a_hold_out_are_named_with_what_to_do():
    skipped = {"membership-loss": "needs a hold-out: questions like", "tasks": "needs lm-eval"}
    found = verdict(ALL[:3], yardstick=False, skipped=skipped)
    assert found.advice.startswith("Without a hold-out, membership-loss could not run: copy the forgotten lines")
    assert "tasks" not in found.advice
    alone = verdict(changed("probe", LEFT)[:3], yardstick=False, skipped=skipped)
    assert alone.advice.endswith("Without a hold-out, membership-loss could not run.")
    assert alone.advice.count("copy the forgotten lines") == 1
    assert not verdict(changed("greedy", LEFT), yardstick=False, skipped=skipped).advice


def test_damage_is_a_sentence_of_its_own_and_changes_no_word():
    harm = [finding("retained", "damage", None, harm=True), finding("fluency", "damage", None)]
    found = verdict([*ALL, *harm], yardstick=True)
    assert (found.word, found.damage) == ("as never known", "Damage: retained.")
    assert verdict([*ALL, harm[1]], yardstick=True).damage == "No damage was found (fluency)."
    assert verdict(ALL, yardstick=True).damage == "Damage was not measured."


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ((0.0, 0.0, 0.1), (0.0, 0.0, 0.1), "is still forgotten"),
        ((0.0, 0.0, 0.1), (0.8, 0.6, 0.9), "came back"),
        ((0.8, 0.6, 0.9), (0.8, 0.6, 0.9), "is still known"),
        ((0.9, 0.8, 0.95), (1.0, 0.95, 1.0), "is still known"),  # better than before, but never forgotten
        ((1.0, 0.9, 1.0), (0.25, 0.02, 0.6), "may be known"),  # too few questions to tell
        ((1.0, 0.9, 1.0), (0.0, 0.0, 0.1), "is still forgotten"),  # against the very first model
    ],
)
def test_what_an_earlier_request_is_now(
    before: tuple[float, float, float], after: tuple[float, float, float], status: str
):
    means = {"before": Interval(*before), "after": Interval(*after), "floor": Interval(0.05, 0.0, 0.1)}
    change = Interval(*(now - then for now, then in zip(after, before, strict=True)))
    asked = replace(finding("greedy", "asking", None), title="Asked plainly", means=means, change=change)
    report = Report(verdict([], yardstick=False), (), {"first.jsonl": (asked,)}, (), {})
    numbers = f"asked plainly, {100 * after[0]:.0f} % of the answers are said ({100 * before[0]:.0f} % before)"
    assert report.past == [f"The earlier request first.jsonl {status}: {numbers}."]


def test_a_perplexity_stands_in_the_table_as_in_its_sentence():
    means = {"before": Interval(2.0, 1.9, 2.1), "after": Interval(3.0, 2.9, 3.1)}
    text = replace(finding("perplexity", "damage", None), unit="nats per token", means=means)
    table = Report(verdict([], yardstick=False), (text,), {}, (), {}).table()
    assert table.rows[0][1:3] == ["7.39", "20.1"]


def test_the_reason_says_how_many_attacks_show_nothing_and_were_left_out():
    reason = verdict(changed("probe", None), yardstick=True, left_out=3).reason
    assert "Attacks that were not asked for: 3." in reason
    assert "Of the 5 attacks, 1 can show nothing" in reason
    assert verdict(ALL, yardstick=True, left_out=3).word == "forgotten here"


def test_several_undecided_attacks_have_advice_too():
    open_ = [replace(one, trace=Interval(*OPEN), questions=24) for one in ALL if one.attack in ("samples", "probe")]
    told = verdict([ALL[0], *open_], yardstick=True).to_do
    assert "2 attacks have not decided it, so that some of it may be there: add questions" in told


def test_only_the_attacks_of_chosen_parts_are_left_out():
    assert AuditOptions(("asking", "inside")).left_out() == 0
    assert AuditOptions(("greedy", "inside")).left_out() > 5


@pytest.mark.parametrize("yardstick", [True, False])
def test_a_hold_out_is_asked_for_where_there_was_none(yardstick: bool) -> None:
    two = [replace(one, trace=Interval(*LEFT)) if one.attack in ("probe", "full") else one for one in ALL]
    found = verdict(two, yardstick=yardstick)
    assert found.line == "hidden"
    assert ("There was no hold-out: audit with one first" in found.to_do) is not yardstick
