"""``mnemotomy trace``: where in a model each concept is."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemotomy.cli.options import TrustCode, choice
from mnemotomy.cli.outcome import console, emit_json, json_option, one_line_errors, say, warn
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.printable import spans

if TYPE_CHECKING:
    from mnemotomy.report.table import Table


_ALIKE = 1.25
_NAMED = 6  # sites


@one_line_errors()
def trace(
    moments: Annotated[Path, typer.Argument(help="A file from 'mnemotomy collect'.")],
    model: Annotated[str, typer.Argument(help="The model of the moments: a folder, a .gguf file, or a hub id.")],
    concept: Annotated[list[str] | None, typer.Option(help="Only this concept; may be repeated.")] = None,
    cut: Annotated[
        str, typer.Option(help="relative=RATIO, float-eps, condition=NUMBER, rank=NUMBER or energy=FRACTION.")
    ] = "relative=1e-6",
    filter: Annotated[
        str, typer.Option(help="soft, power=EXPONENT, hard=THRESHOLD, steep=TIMES, excess, balanced or ridge=LAMBDA.")
    ] = "soft",
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every site as CSV.")] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a heatmap of blocks and kinds of projection.")
    ] = None,
    trust_remote_code: TrustCode = False,
    json_: Annotated[str | None, json_option("every site")] = None,
) -> None:
    """Show where in a model each concept is.

    The table gives ‖W⁺‖/‖W‖, the norm of the concept's weights over that of all weights, by block and kind of
    projection. It can exceed 1; well above 1, an erasure changes more than the layer itself contains, and a larger
    reference is needed. The reference is shown only with --concept reference.

    \b
    Example:
      mnemotomy trace moments.safetensors Qwen/Qwen3-0.6B --csv trace.csv --png trace.png
    """
    from mnemotomy.core.files import check_file, check_no_input, write_text
    from mnemotomy.core.models import load_model, quiet_transformers
    from mnemotomy.core.sources import locate_model
    from mnemotomy.engram.atlas import Atlas
    from mnemotomy.engram.cut import CUT
    from mnemotomy.engram.filters import FILTER
    from mnemotomy.engram.guards import reference_concerns, row_concerns
    from mnemotomy.engram.moments import Moments
    from mnemotomy.report.figures import form_of, trace_heatmap
    from mnemotomy.report.table import Table
    from mnemotomy.text.records import REFERENCE

    outputs = [str(one) for one in (csv, png, json_) if one is not None]
    for written in outputs:
        check_no_input(written, [moments, locate_model(model)])
        if outputs.count(written) > 1:
            raise ConfigurationError(f"{written} is given for two outputs; name a file for each")
    if csv is not None:
        check_file(csv)
    if png is not None:
        form_of(png)
    chosen_cut, chosen_filter = choice(cut, CUT), choice(filter, FILTER)
    loaded = Moments.load(moments)
    with quiet_transformers():
        network = load_model(locate_model(model), dtype=loaded.origin.model_dtype)
    atlas = Atlas(network, loaded, chosen_cut)
    names = concept or [name for name in atlas.concepts if name != REFERENCE]
    for name in names:
        atlas.engram(name)  # refuses an unknown one
    concerns = reference_concerns(loaded, REFERENCE) if REFERENCE in loaded.concepts else row_concerns(loaded, ())
    for concern in concerns:
        warn(concern)
    rows = atlas.trace_rows(names, chosen_filter, progress=True)
    if csv is not None:
        write_text(csv, Table.of_rows(rows).csv())
    if png is not None:
        trace_heatmap(rows, png)
    if json_ is not None:
        emit_json(rows, json_)
    if json_ != "-":
        out = console()
        for name in names:
            own = [row for row in rows if row["concept"] == name]
            _grid(name, own).print(out)
            most = sorted(own, key=lambda row: -row["weight_norm"])[:3]
            sites = ", ".join(f"{row['site']} ({row['weight_norm']:.3f})" for row in most)
            say(f"{name}: most at {sites}")
            others = [row for row in rows if row["concept"] not in (name, REFERENCE)]
            if others and name != REFERENCE and concept is None:
                for line in _above(own, others):
                    say(f"{name}: {line}")
        for line in () if concerns else _high(rows, names):
            warn(line)
        say("‖W⁺‖/‖W‖ is how much of a site's weights the concept takes; compare the numbers with one another")
        if concept is None:
            for line in _advice(rows, names):
                say(line)


def _above(own: list[dict[str, Any]], others: list[dict[str, Any]]) -> Iterator[str]:
    """The sites where a concept exceeds all others by more than these lie apart, by how much at the first of them, and
    the options with which ``mnemotomy forget`` edits there.
    """
    by_site: dict[str, list[float]] = {}
    for row in others:
        by_site.setdefault(row["site"], []).append(row["weight_norm"])
    norms = {row["site"]: row["weight_norm"] for row in own}
    above = [site for site, found in by_site.items() if norms[site] - max(found) > max(found) - min(found)]
    most = sorted(above, key=lambda site: max(by_site[site]) - norms[site])[:_NAMED]
    told = []
    for site in most:
        low, high = (f"{one(by_site[site]):.3f}" for one in (min, max))
        told.append(f"{site} ({norms[site]:.3f}, {'there ' + low if len(by_site[site]) == 1 else f'{low} to {high}'})")
    against = f"above {others[0]['concept']}" if len(next(iter(by_site.values()))) == 1 else "stands out"
    yield f"{against} at {len(above)} of {len(norms)} sites" + (f", most at {', '.join(told)}" if told else "")
    layers = spans(row["layer"] for row in own if row["site"] in above and row["layer"] is not None)
    if layers:
        yield (
            f"to edit there, give 'mnemotomy forget' --layers {','.join(layers)} (all of these blocks), or "
            f"--sites {','.join(most)} (these sites alone)"
        )


def _high(rows: list[dict[str, Any]], names: Sequence[str]) -> Iterator[str]:
    """The concepts whose weights are mostly above those of the whole model."""
    high = [name for name in names if statistics.median(r["weight_norm"] for r in rows if r["concept"] == name) > 1]
    if high:
        yield (
            f"most numbers of {', '.join(high)} are above 1: the reference is too small or too unlike to tell what is "
            "a concept's own; give more neighbours"
        )


def _advice(rows: list[dict[str, Any]], names: Sequence[str]) -> Iterator[str]:
    """How to read the numbers beside those of other concepts."""
    if len(names) == 1:
        yield (
            "any concept of this kind may look like this; to see what is its own, collect three or more neighbours as "
            "concepts, too, each with --concept NAME=FILE"
        )
    elif len(names) == 2:
        yield "two concepts of one kind differ by chance, too; three or more neighbours show by how much"
    else:
        yield (
            "a concept stands out at a site where it lies above all others by more than these lie apart; to do so at "
            f"more sites than each of the others happens by chance in one of {len(names)} cases"
        )
    tokens = {name: max(row["rows"] for row in rows if row["concept"] == name) for name in names}
    if max(tokens.values()) > _ALIKE * min(tokens.values()):
        counts = ", ".join(f"{name} {count}" for name, count in tokens.items())
        yield f"counted tokens: {counts}; the numbers rise with them, so compare concepts that have about as many"


def _grid(concept: str, rows: list[dict[str, Any]]) -> Table:
    """‖W⁺‖/‖W‖ by block (rows) and kind (columns), averaged where a block has several sites of one kind."""
    from mnemotomy.report.figures import weight_norms
    from mnemotomy.report.table import Table

    layers, kinds, norms = weight_norms(rows)
    lines = []
    for layer in sorted(layers, key=lambda layer: -1 if layer is None else layer):
        cells = (f"{norms[layer, kind]:.3f}" if (layer, kind) in norms else "" for kind in kinds)
        lines.append(["-" if layer is None else str(layer), *cells])
    return Table(["block", *kinds], lines, f"{concept}: ‖W⁺‖/‖W‖")
