"""The figures of one case: sliders, sums of engrams, and readings against α."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.engram.edit import Edit
from mnemotomy_bench.figures.faces import arithmetic_grid, reading_curves, slider_grid
from mnemotomy_bench.generative.faces.arithmetic import SIGNS, title
from mnemotomy_bench.generative.faces.cases import ALPHAS
from mnemotomy_bench.generative.faces.engrams import Setting, Shift
from mnemotomy_bench.generative.faces.methods import AUTOMATIC, ENGRAM, METHODS, RARE, engrams_of
from mnemotomy_bench.generative.faces.portraits import Portraits
from mnemotomy_bench.generative.faces.subject import FaceSubject
from mnemotomy_bench.generative.records import FacesRecord

_FIGURES = {AUTOMATIC: "sliders", RARE: "sliders-rare", ENGRAM: "sliders-paper"}


def write_case_figures(
    subject: FaceSubject, chosen: Sequence[Setting | Shift], records: Sequence[FacesRecord], out_dir: Path
) -> list[Path]:
    """PNG files ``<case>-<what>.png``; they show the first test faces of one seed, unselected."""
    name = subject.case.name
    paths = []
    for method, what in _FIGURES.items():
        engrams = engrams_of(subject, METHODS[method], chosen)
        paths.append(out_dir / f"{name}-{what}.png")
        slider_grid(_sliders(subject, engrams), ALPHAS, paths[-1])
        if method == AUTOMATIC:
            paths.append(out_dir / f"{name}-arithmetic.png")
            arithmetic_grid(*_sums(subject, engrams), paths[-1])
    shown = [record for record in records if record["curves"] is not None]
    paths.append(out_dir / f"{name}-curves.png")
    reading_curves(shown, subject.case.attributes, ALPHAS, paths[-1])
    return paths


def _sliders(subject: FaceSubject, engrams: Sequence[Edit]) -> dict[str, Float[Tensor, "faces columns c s s"]]:
    """By attribute, faces that have it: the face itself, the exact truth without it, and its image at every α."""
    found = {}
    for place, name in enumerate(subject.case.attributes):
        faces = subject.test.having(place)[: subject.case.shown].images
        columns = [faces]
        truth = subject.truth("test", place)
        if truth is not None:
            columns.append(truth[: subject.case.shown])
        columns += [subject.draw(faces, -alpha * engrams[place]) for alpha in ALPHAS]
        found[name] = torch.stack(columns, 1).cpu()
    return found


def _sums(subject: FaceSubject, engrams: Sequence[Edit]) -> tuple[Float[Tensor, "faces columns c s s"], list[str]]:
    """Faces with both, one or the other of the first two attributes, and their images under the sums of Eq. 8."""
    names = subject.case.attributes
    faces = _of_each_kind(subject.test, subject.case.shown).images
    columns = [faces, subject.draw(faces)]
    titles = ["face", "μ"]
    for signs in SIGNS:
        columns.append(subject.draw(faces, signs[0] * engrams[0] + signs[1] * engrams[1]))
        titles.append(title(names, signs))
    return torch.stack(columns, 1).cpu(), titles


def _of_each_kind(faces: Portraits, count: int) -> Portraits:
    """The first ``count`` faces with both attributes, then as many with only the first, and with only the second."""
    places = []
    for first, second in ((True, True), (True, False), (False, True)):
        kind = (faces.attributes[:, 0] == first) & (faces.attributes[:, 1] == second)
        places.append(kind.nonzero().flatten()[:count])
    return faces[torch.cat(places)]
