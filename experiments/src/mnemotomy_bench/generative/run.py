"""The runs of the generative bench: digits in a convolutional autoencoder, attributes of faces in a Wasserstein one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import ConfigurationError
from mnemotomy_bench.generative.cases import CASES
from mnemotomy_bench.generative.digits import TITLES, digits_plan, run_digits
from mnemotomy_bench.generative.faces.cases import face_cases
from mnemotomy_bench.generative.faces.run import case_plan, run_faces, write_face_figures
from mnemotomy_bench.generative.records import GenerativeRecord
from mnemotomy_bench.generative.show import write_digit_figures
from mnemotomy_bench.lab.pool import Plan, Workers

FACES = "faces"
"""The name of the second half; the first is ``digits``."""


def run_generative(
    out_dir: Path,
    *,
    scale: str = "small",
    seeds: Sequence[int] | None = None,
    only: Sequence[str] = (),
    data: Path | None = None,
) -> list[GenerativeRecord]:
    """One record per case and method: means over the seeds, and ``…_spread``.

    Args:
        out_dir: for cells and models; finished results are reused.
        scale: ``tiny``, ``small`` or ``paper``.
        seeds: override those of the scale.
        only: ``digits`` or ``faces``, or methods of the digits; all by default.
        data: the folder of data sets; ``MNEMOTOMY_DATA`` by default.

    Raises:
        ConfigurationError: there is no such part or method.
        DataError: the data is missing.
    """
    parts = chosen_parts(only)
    records: list[GenerativeRecord] = []
    if "digits" in parts:
        for case in CASES.at(scale, seeds):
            records += run_digits(out_dir, case, chosen_methods(only), data)
    if FACES in parts:
        records += run_faces(out_dir, scale=scale, seeds=seeds, data=data)
    return records


def fill(
    out_dir: Path,
    *,
    jobs: int,
    scale: str = "small",
    seeds: Sequence[int] | None = None,
    only: Sequence[str] = (),
    data: Path | None = None,
) -> None:
    """Compute in ``jobs`` processes what ``run_generative`` needs; arguments and errors are the same."""
    parts = chosen_parts(only)
    plans: list[Plan] = []
    if "digits" in parts:
        plans += [digits_plan(out_dir, case, chosen_methods(only), data) for case in CASES.at(scale, seeds)]
    if FACES in parts:
        plans += [case_plan(out_dir, case) for case in face_cases(scale, seeds, data)]
    with Workers(jobs) as workers:
        workers.carry_out("generative", plans)


def draw_generative(
    records: Sequence[Mapping[str, Any]],
    out_dir: Path,
    *,
    scale: str,
    seeds: Sequence[int] | None = None,
    only: Sequence[str] = (),
    data: Path | None = None,
) -> list[Path]:
    """The figures of the parts that were run in full; arguments as for ``run_generative``, which made ``records``."""
    parts = chosen_parts(only)
    paths: list[Path] = []
    if "digits" in parts and not any(name in TITLES for name in only):
        for case in CASES.at(scale, seeds):
            paths += write_digit_figures(records, out_dir, case, data)
    if FACES in parts:
        paths += write_face_figures(out_dir, scale=scale, seeds=seeds, data=data)
    return paths


def chosen_parts(only: Sequence[str]) -> tuple[str, ...]:
    """The parts, ``digits`` and ``faces``, that ``only`` names; a method selects the digits.

    Raises:
        ConfigurationError: a name is neither a part nor a method.
    """
    known = ("digits", FACES, *TITLES)
    for name in only:
        if name not in known:
            raise ConfigurationError(f"there is no part or method {name!r}; choose among {', '.join(known)}")
    if not only:
        return "digits", FACES
    digits = any(name != FACES for name in only)
    return (("digits",) if digits else ()) + ((FACES,) if FACES in only else ())


def chosen_methods(only: Sequence[str]) -> list[str]:
    """The methods of the digits that ``only`` names, by default all."""
    return [name for name in TITLES if name in only] or list(TITLES)
