"""Sweeps over one setting of the closed form: strengths, cuts, filters, rounds, projections, instantiations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, cast

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.version import versions
from mnemotomy.engram.sites import select_sites
from mnemotomy.methods.language.closed_form import ClosedForm
from mnemotomy.methods.language.collecting import FORGET
from mnemotomy.methods.language.delta import DeltaWeights
from mnemotomy.methods.language.delta_sequential import DeltaSequential
from mnemotomy.methods.language.engram import (
    PAPER_STRENGTHS,
    EngramProjector,
    EngramSteep,
    EngramUniform,
    EngramWeightNorm,
)
from mnemotomy.methods.language.problem import LanguageMethod
from mnemotomy.observe.questions import Observed
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.lab.resources import single_threaded
from mnemotomy_bench.tofu.cells import BROKEN, cell_key, described, kept, row, row_key
from mnemotomy_bench.tofu.grids import PAPER_SITES, as_written_now, configurations
from mnemotomy_bench.tofu.records import Layer, Swept, TofuRecord
from mnemotomy_bench.tofu.sharing import Sharing
from mnemotomy_bench.tofu.subject import Subject

Labelled = Iterable[tuple[str, float | None, LanguageMethod]]
"""A label, a place on the axis if there is one, and the configuration."""

STRENGTHS = (*PAPER_STRENGTHS[3::4], 1.5, 2.0, 3.0, 4.0)
CUTS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
QK, GATE = ("q_proj", "k_proj"), ("gate_proj",)


def strengths(_: Subject, method: ClosedForm) -> Labelled:
    """The same edit, weaker and stronger."""
    if not any(one.name == "strength" for one in fields(method)):
        raise ConfigurationError(f"{method.name} has no strength to sweep; choose another --method, or --sweep cuts")
    return [(f"α = {value:g}", value, replace(method, strength=value)) for value in STRENGTHS]  # type: ignore[call-arg]


def cuts(_: Subject, method: ClosedForm) -> Labelled:
    """From which eigenvalue on directions of Σ_total are inverted; shows where the edit breaks."""
    return [(f"cut {value:.0e}", value, replace(method, cut=value)) for value in CUTS]


def filters(_: Subject, method: ClosedForm) -> Labelled:
    """What a direction's share μ of the forget set does to it; the rest as in ``method``."""
    common = _common(method)
    yield "μ, the paper's", None, EngramUniform(**common, strength=1.0)
    for excess in (0.02, 0.05, 0.1, 0.2):
        yield f"projector, excess {excess:g}", None, EngramProjector(**common, excess=excess)
    for times in (1.5, 2.0, 3.0, 4.0):
        yield f"steep at {times:g} n⁺/N", None, EngramSteep(**common, times=times)


def kinds(subject: Subject, method: ClosedForm) -> Labelled:
    """Table 8: all projections, Q and K, these with the gate, and all but these."""
    sites = select_sites(subject.full.model, "all")
    there = list(dict.fromkeys(sites[name].kind for name in method.site_names(subject.full.model)))
    missing = [kind for kind in (*QK, *GATE) if kind not in there]
    if missing:
        raise ConfigurationError(f"Table 8 is about q_proj, k_proj and gate_proj; this model has {', '.join(there)}")
    rest = tuple(kind for kind in there if kind not in (*QK, *GATE))
    for label, chosen in (
        ("All linear projections", method.sites),
        ("Q/K only", QK),
        ("Q/K + Gate", (*QK, *GATE)),
        ("No Q/K/Gate", rest),
    ):
        yield label, None, replace(method, sites=chosen)


def blocks(subject: Subject, method: ClosedForm) -> Labelled:
    """Each block alone."""
    layers = {site.layer for site in select_sites(subject.full.model, "all-linear").values()} - {None}
    return [(f"block {layer}", float(layer), replace(method, layers=(layer,))) for layer in sorted(layers)]  # type: ignore[type-var, arg-type]


def variants(_: Subject, method: ClosedForm) -> Labelled:
    """The edit repeated on the edited model, and with embedding rows."""
    for rounds in (1, 2, 3):
        yield f"{rounds} round{'s' if rounds > 1 else ''}", None, replace(method, rounds=rounds)
    yield "with embedding rows", None, replace(method, sites=(*PAPER_SITES, "input-embedding"))


def instantiations(subject: Subject, method: ClosedForm) -> Labelled:
    """Table 9: the whole weight, or its difference from the pretrained weight, naive or solved layer by layer."""
    yield "ΔW = W_ft (tabula rasa)", None, method
    if subject.pair.pretrained is not None:
        yield "ΔW = W_ft − W_pt (naive)", None, DeltaWeights(**_common(method))
        shared = _common(method, without=("rounds",))  # it edits each block once
        yield "ΔW = W_ft − W_pt, layer by layer", None, DeltaSequential(**shared)


SWEEPS: Mapping[str, Callable[[Subject, ClosedForm], Labelled]] = {
    "strengths": strengths,
    "cuts": cuts,
    "filters": filters,
    "variants": variants,
    "kinds": kinds,
    "blocks": blocks,
    "instantiations": instantiations,
}


def run_sweep(subject: Subject, name: str, method: ClosedForm | None = None) -> list[Swept]:
    """One record per setting, with the columns of Table 6; the paper's estimator by weight norm by default.

    A sweep shows what a setting does on the test metrics; it does not choose configurations.

    Raises:
        ConfigurationError: there is no such sweep, or the model lacks what it needs.
    """
    if name not in SWEEPS:
        raise ConfigurationError(f"there is no sweep {name!r}; choose among {', '.join(SWEEPS)}")
    base = method or EngramWeightNorm(sites=PAPER_SITES)
    settings = list(SWEEPS[name](subject, base))
    sharing = Sharing(subject.problem(0))
    records: list[Swept] = []
    with single_threaded(), progress_bar(name, len(settings)) as advance:
        for label, value, one in settings:
            found = _cell(subject, one, sharing)
            about = {"sweep": name, "title": label, "value": value, "pair": subject.pair.name}
            records.append(cast(Swept, about | found))
            advance(1, label)
    return records


def weight_norms(subject: Subject, method: ClosedForm | None = None) -> list[Layer]:
    """Fig. 9: ‖W⁺‖/‖W‖ of every projection as ``layer``, ``kind`` and ``weight_norm``; cached."""
    base = method or EngramWeightNorm(sites=PAPER_SITES)

    def run() -> Record:
        frame = Sharing(subject.problem(0)).atlas(base).trace([FORGET])
        wanted = frame[["site", "layer", "kind", "weight_norm"]].astype(object)
        rows = wanted.where(wanted.notna(), None).to_dict(orient="records")
        return {"rows": rows}

    found = kept(subject, "norms", cell_key(subject, base, 0), run, {"pair": subject.pair.name})
    return cast(list[Layer], found["rows"])


def _common(method: ClosedForm, without: Sequence[str] = ()) -> dict[str, Any]:
    """The settings of every closed form: sites, positions, cut, rounds."""
    return {one.name: getattr(method, one.name) for one in fields(ClosedForm) if one.name not in without}


def _cell(subject: Subject, method: LanguageMethod, sharing: Sharing) -> Record:
    def run() -> Record:
        try:
            observed = Observed(sharing.treated(method), subject.pair.tokenizer)
            return {"failed": None} | row(subject, subject.evaluation(observed))
        except BROKEN as error:
            return {"failed": str(error)}

    extra = {
        "method": method.name,
        "family": method.family,
        "config": described(method),
        "configuration": repr(method),
        "selection": "none: a sweep",
        "versions": versions(),
    }
    return kept(subject, "sweeps", row_key(subject, method, 0), run, extra)


def chosen_configuration(records: Sequence[TofuRecord], name: str) -> LanguageMethod | None:
    """The configuration that a run chose for a method; None if it was not run."""
    from mnemotomy.methods.registry import methods

    known = methods("language models")
    for record in records:
        if record["method"] == name and name in known:
            for one in (*configurations(known[name], "small"), *configurations(known[name], "paper")):
                if repr(one) == as_written_now(record.get("configuration", "")):
                    return one
    return None
