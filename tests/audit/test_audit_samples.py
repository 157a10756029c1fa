"""What the models wrote, side by side, with what it counted as; and where it is not repeated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from audited import FORGET, HOLDOUT, case, learned
from reported import RECORD, finding, page

from mnemotomy.audit.asking import Greedy, Paraphrased
from mnemotomy.audit.base import Reading, Sample
from mnemotomy.audit.options import AuditOptions
from mnemotomy.audit.reading import Reader
from mnemotomy.audit.report import Report
from mnemotomy.audit.samples import SHOWN, UNSEEN, side_by_side
from mnemotomy.audit.verdict import verdict

KNOWN = "known", "not known"


def reading(*values: float, asked: str = "question", unseen: int = 0) -> Reading:
    def samples(numbers: tuple[float, ...]) -> tuple[Sample, ...]:
        rows = enumerate(numbers)
        return tuple(Sample(n, f"{asked} {n}", f"answer {n}", f"text {n}", value) for n, value in rows)

    return Reading(values, samples=samples(values), unseen=samples((0.0,) * unseen))


def test_each_question_has_what_both_models_wrote_and_what_it_counted_as():
    rows = side_by_side({"before": reading(1.0, asked="other"), "after": reading(0.4, unseen=1)}, KNOWN)
    assert rows == (
        {
            "question": "question 0",
            "answer": "answer 0",
            "before": {"asked": "other 0", "written": "text 0", "counted": "known"},
            "after": {"written": "text 0", "counted": "40 % known"},
        },
    )


def test_half_of_the_questions_tell_most_and_the_others_are_spread():
    values = [0.0] * 20
    values[7], values[13] = 1.0, 0.5
    rows = side_by_side({"before": reading(*[1.0] * 20, unseen=9), "after": reading(*values, unseen=9)}, KNOWN)
    own = [row["question"] for row in rows if "set" not in row]
    assert own == ["question 7", "question 13", "question 0", "question 1", "question 6", "question 14"]
    assert len(own) == SHOWN
    assert [row["set"] for row in rows[SHOWN:]] == ["hold-out"] * UNSEEN
    lost = side_by_side({"before": reading(1.0, *[0.0] * 19), "after": reading(*values)}, KNOWN, fell=True)
    assert lost[0]["question"] == "question 0"  # where most was lost, not where nothing ever was


def test_samples_are_read_with_the_numbers_and_kept_with_them(tmp_path: Path):
    before, after = learned()[0], learned(False)[0]
    asked = case()
    options = AuditOptions(folder=tmp_path, progress=False)
    reader = Reader({"before": before, "after": after}, {"before": "1", "after": "2"}, options, repr)
    for attack in (Greedy(), Paraphrased()):
        first = reader.findings([attack], asked)[0][0]
        assert reader.findings([attack], asked)[0][0] == first
        own = [row for row in first.shown if "set" not in row]
        assert any(one.question.split()[0] in own[0]["question"] for one in FORGET)
        assert {"known"} <= {row["before"]["counted"] for row in own} <= {"known", "not known"}
        unseen = [row for row in first.shown if row.get("set") == "hold-out"]
        assert any(one.question.split()[0] in unseen[0]["question"] for one in HOLDOUT)
        json.dumps(first.shown)


def test_the_page_and_the_record_show_samples_and_the_deletion_report_does_not(tmp_path: Path):
    rows = side_by_side({"before": reading(1.0), "after": reading(0.0)}, KNOWN)
    one = finding()
    shown = Report(verdict([one], yardstick=False), (replace(one, shown=rows),), {}, (), RECORD)
    shown.save(tmp_path)
    text = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "<details open><summary>What the models wrote</summary>" in text
    assert "<dd>text 0 <small>· not known</small></dd>" in text
    record = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert record["findings"][0]["shown"] == list(rows)
    handed = (tmp_path / "deletion-report.md").read_text(encoding="utf-8")
    assert "question 0" not in handed
    assert "text 0" not in handed
    assert "is in `audit.html` and `audit.json`. It is not" in handed
    assert "What the models wrote" not in page(tmp_path / "none", one)


def test_fluency_that_was_not_judged_says_why_where_its_number_would_stand(tmp_path: Path):
    why = "not judged: the judge (the model before) told only 73 % of its own test texts right, and 80 % are needed"
    one = replace(finding(), attack="fluency", title="Answers neither empty nor circling", part="damage", unjudged=why)
    Report(verdict([one], yardstick=False), (one,), {}, (), RECORD).save(tmp_path)
    text = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert f"<p>Fluent answers to forgotten questions: {why}.</p>" in text
    table = (tmp_path / "deletion-report.md").read_text(encoding="utf-8")
    assert f"| Fluent answers to forgotten questions | {why} | | | | paper |" in table
