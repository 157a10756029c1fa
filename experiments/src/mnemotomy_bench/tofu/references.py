"""The cost of having no retain set: closed forms with a reference that the model wrote itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.progress import progress_bar
from mnemotomy.methods.language.problem import LanguageMethod
from mnemotomy.methods.language.self_reference import SelfReference
from mnemotomy_bench.lab.resources import single_threaded
from mnemotomy_bench.tofu.cells import evaluated_cell
from mnemotomy_bench.tofu.records import Referred, TofuRecord
from mnemotomy_bench.tofu.subject import Subject
from mnemotomy_bench.tofu.sweeps import chosen_configuration

COMPARED = ("engram-uniform", "engram-weight-norm", "engram-projector", "engram-steep", "two-sided")
"""Closed forms that read the retain set; those with a chosen configuration are compared."""


def compared(records: Sequence[TofuRecord], name: str | None = None) -> list[LanguageMethod]:
    """The chosen configurations to compare: of one method, or of ``COMPARED``.

    Raises:
        ConfigurationError: the records have none.
    """
    found = [chosen_configuration(records, one) for one in (COMPARED if name is None else (name,))]
    methods = [one for one in found if one is not None]
    if not methods:
        raise ConfigurationError(f"the records have none of {name or ', '.join(COMPARED)}; run one of them first")
    return methods


def run_references(
    subject: Subject, methods: Sequence[LanguageMethod], how: SelfReference | None = None
) -> list[Referred]:
    """Two records per method, with the columns of Table 6: with the retain set, and with the model's own texts.

    The configuration is the one chosen with the retain set. Models trained on answers only do not write questions, so
    the default is answers to an empty question.

    Args:
        subject: the pair and its texts.
        methods: the configurations.
        how: how the model writes; 2,000 answers by default.
    """
    how = how or SelfReference(opening="answer")
    alone = replace(subject, reference=how)
    records: list[Referred] = []
    with single_threaded(), progress_bar("references", 2 * len(methods)) as advance:
        for method in methods:
            for one, what in ((subject, "retain set"), (alone, f"self:{how.count}")):
                cell = evaluated_cell(one, method, 0)
                about = {"title": f"{method.title}, {what}", "reference": what, "family": method.family}
                records.append(cast(Referred, {**about, "pair": subject.pair.name, **cell}))
                advance(1, method.title)
    return records
