"""Public benchmarks of unlearning and of editing, one declaration each, as files that ``forget`` and ``audit`` take."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnemotomy.core.errors import DataError
from mnemotomy.data.tofu import HUB, evaluation_splits, retained_split

Line = dict[str, Any]
"""A line of a concept file."""

FILES = {
    "forget": "what a method is given to forget",
    "retain": "what a method is given to retain",
    "holdout": "like the forget set, but no model has learned it",
    "forget-questions": "what an audit asks about the forget set",
    "forget-attacks": "the same knowledge, asked by attacks",
    "retain-questions": "what an audit asks about the rest",
}
"""The files that an import can write, without their ending."""


@dataclass(frozen=True)
class Part:
    """Where the rows of a file come from.

    Attributes:
        config, split: of the data set on the hub; in a folder, the file ``<config>/<split>`` or ``<config>``.
        lines: the lines that a row gives; an empty text or answer drops the line.
        files: other names that this part has in a folder.
        hub: another data set on the hub that has this part.
        gated: whether the hub asks for a permission that not everybody has.
    """

    config: str | None
    split: str
    lines: Callable[[Any], Iterator[Line]]
    files: Sequence[str] = ()
    hub: str | None = None
    gated: bool = False

    @property
    def stems(self) -> list[str]:
        """Its names in a folder, without an ending."""
        return [*([] if self.config is None else [f"{self.config}/{self.split}", self.config]), *self.files]


@dataclass(frozen=True)
class Benchmark:
    """A public data set.

    Attributes:
        title: with its authors and its paper.
        hub: the ids that it has on the hub; none if it is published elsewhere.
        parts: of each file.
        subject: whom or what a row is about; None where rows have no subject.
        plain: whether a question is a text to be continued, without a chat template.
    """

    title: str
    hub: Sequence[str]
    parts: Mapping[str, Sequence[Part]]
    subject: Callable[[Any], str] | None = None
    plain: bool = False


def _text(row: Any) -> Iterator[Line]:
    yield {"text": row["text"]}


def _question(row: Any) -> Iterator[Line]:
    kept = ("question", "answer", "paraphrased_question", "paraphrased_answer", "perturbed_answer")
    yield {key: row[key] for key in kept if row.get(key) is not None}


def _choice(row: Any) -> Iterator[Line]:
    """A question with its options; the answer is the right one, and the others are the false answers."""
    options = [f"{letter}. {one}" for letter, one in zip(string.ascii_uppercase, row["choices"], strict=False)]
    answer = options.pop(row["answer"])
    asked = "\n".join([row["question"].strip(), *sorted([*options, answer])])
    yield {"question": asked, "answer": answer, "perturbed_answer": options}


def _probe(row: Any) -> Iterator[Line]:
    """A probe of RWKU, as its own evaluation words it."""
    wish = "Please complete the blank in the following question." if "___" in row["query"] else ""
    yield {"question": f"{wish}\n{row['query']}".strip(), "answer": row["answer"]}


def _edited(row: Any, question: str) -> Line:
    """A question of zsRE with the true answer and the one that an edit would write."""
    return {"question": question, "answer": row["answers"][0], "perturbed_answer": [row["alt"]]}


def _unrelated(row: Any) -> Iterator[Line]:
    answer = row["loc_ans"] if isinstance(row["loc_ans"], str) else row["loc_ans"][0]
    yield {"question": row["loc"].removeprefix("nq question:").strip().removesuffix("?") + "?", "answer": answer}


def _rewrite(row: Any, prompts: Sequence[str], *, both: bool = True) -> Iterator[Line]:
    """Prompts of CounterFact that the true answer continues."""
    asked = row["requested_rewrite"]
    false = {"perturbed_answer": [asked["target_new"]["str"]]} if both else {}
    for prompt in prompts:
        yield {"question": prompt, "answer": asked["target_true"]["str"], **false}


def _tofu(forget: str) -> Benchmark:
    splits = evaluation_splits(forget)
    configs = {
        "forget": forget,
        "retain": retained_split(forget),
        "holdout": splits["holdout"],
        "forget-questions": splits["forget"],
        "retain-questions": splits["retain"],
    }
    parts = {name: (Part(config, "train", _question),) for name, config in configs.items()}
    return Benchmark(f"TOFU, {forget} (Maini et al. 2024, arXiv 2401.06121)", (HUB,), parts)


def _wmdp(field: str) -> Benchmark:
    questions = Part(f"wmdp-{field}", "test", _choice, (f"{field}_questions",))
    corpora = {"bio": "biology", "cyber": "cyber security"}
    parts: dict[str, Sequence[Part]] = {"forget-questions": (questions,)}
    if field in corpora:
        own = ("bio_remove_dataset", "train") if field == "bio" else ()
        hub, config = (
            ("cais/wmdp-bio-forget-corpus", None) if field == "bio" else ("cais/wmdp-corpora", "cyber-forget-corpus")
        )
        named = (f"{field}-forget-corpus", *own)
        parts["forget"] = (Part(config, "train", _text, named, hub, gated=field == "bio"),)
        parts["retain"] = (Part(f"{field}-retain-corpus", "train", _text, hub="cais/wmdp-corpora"),)
    return Benchmark(f"WMDP, {field} (Li et al. 2024, arXiv 2403.03218)", ("cais/wmdp",), parts)


def _rwku(level: str, group: str = "forget") -> Part:
    return Part(f"{group}_level{level}", "test", _probe)


_COUNTERFACT = ("counterfact", "multi_counterfact")
_ZSRE = ("zsre_mend_eval", "zsre")

BENCHMARKS: dict[str, Benchmark] = {
    **{f"tofu-{forget}": _tofu(forget) for forget in ("forget01", "forget05", "forget10")},
    "muse": Benchmark(
        "MUSE, news or books (Shi et al. 2024, arXiv 2407.06460)",
        ("muse-bench/MUSE-News", "muse-bench/MUSE-Books"),
        {
            "forget": (Part("raw", "forget", _text),),
            "retain": (Part("raw", "retain1", _text),),
            "holdout": (Part("raw", "holdout", _text),),
            "forget-questions": (Part("knowmem", "forget_qa", _question),),
            "retain-questions": (Part("knowmem", "retain_qa", _question, ("knowmem/retain2_qa",)),),
        },
    ),
    **{f"wmdp-{field}": _wmdp(field) for field in ("bio", "chem", "cyber")},
    "rwku": Benchmark(
        "RWKU, 200 famous people (Jin et al. 2024, arXiv 2406.10890)",
        ("jinzhuoran/RWKU",),
        {
            "forget": (Part("train_original_passage", "train", _text, ("passage",)),),
            "forget-questions": (_rwku("1"), _rwku("2")),
            "forget-attacks": (_rwku("3"),),
            "retain-questions": (_rwku("1", "neighbor"), _rwku("2", "neighbor")),
        },
        subject=lambda row: row["subject"],
    ),
    "zsre": Benchmark(
        "zsRE as edited by MEND and ROME (Levy et al. 2017; Meng et al. 2022, arXiv 2202.05262)",
        (),
        {
            "forget": (Part(None, "train", lambda row: iter([_edited(row, row["src"])]), _ZSRE),),
            "forget-questions": (Part(None, "train", lambda row: iter([_edited(row, row["rephrase"])]), _ZSRE),),
            "retain-questions": (Part(None, "train", _unrelated, _ZSRE),),
        },
        subject=lambda row: row["subject"],
    ),
    "counterfact": Benchmark(
        "CounterFact (Meng et al. 2022, arXiv 2202.05262)",
        (),
        {
            "forget": (Part(None, "train", lambda row: _rewrite(row, [_filled(row)]), _COUNTERFACT),),
            "forget-questions": (
                Part(None, "train", lambda row: _rewrite(row, row["paraphrase_prompts"]), _COUNTERFACT),
            ),
            "retain-questions": (
                Part(None, "train", lambda row: _rewrite(row, row["neighborhood_prompts"], both=False), _COUNTERFACT),
            ),
        },
        subject=lambda row: row["requested_rewrite"]["subject"],
        plain=True,
    ),
}


def _filled(row: Any) -> str:
    asked = row["requested_rewrite"]
    return str(asked["prompt"]).replace("{}", asked["subject"])


def benchmark(name: str) -> Benchmark:
    """The declaration of a benchmark.

    Raises:
        DataError: there is none of this name.
    """
    if name not in BENCHMARKS:
        raise DataError(f"there is no benchmark {name!r}; choose one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
