"""How ``mnemotomy trace`` compares a concept with its neighbours."""

from __future__ import annotations

from typing import Any

from mnemotomy.cli.options import blocks
from mnemotomy.cli.trace import _above, _advice, _high
from mnemotomy.core.printable import spans


def test_a_concept_stands_out_by_more_than_its_neighbours_lie_apart() -> None:
    def rows(name: str, first: float, second: float, tokens: int = 100) -> list[dict[str, Any]]:
        return [
            {"concept": name, "site": site, "layer": layer, "weight_norm": norm, "rows": tokens}
            for site, layer, norm in (("up", 4, first), ("down", 5, second))
        ]

    others = [*rows("rome", 0.10, 0.30), *rows("oslo", 0.12, 0.40)]
    own = rows("kyoto", 0.15, 0.45)
    assert list(_above(own, others)) == [
        "stands out at 1 of 2 sites, most at up (0.150, 0.100 to 0.120)",
        "to edit there, give 'mnemotomy forget' --layers 4 (all of these blocks), or --sites up (these sites alone)",
    ]
    assert list(_above(rows("kyoto", 0.13, 0.45), others)) == ["stands out at 0 of 2 sites"]
    names = ("kyoto", "rome", "oslo")
    (how,) = _advice([*own, *others], names)
    assert "by more than these lie apart" in how
    *_, counted = _advice([*rows("kyoto", 0.1, 0.1, 126), *others], names)
    assert counted.startswith("counted tokens: kyoto 126, rome 100, oslo 100; the numbers rise with them")


def test_numbers_above_1_are_said_once_for_all_concepts() -> None:
    rows = [
        {"concept": name, "weight_norm": norm} for name in ("kyoto", "rome", "oslo") for norm in (0.2, 1.2, 1.3)
    ] + [{"concept": "paris", "weight_norm": 0.2}]
    (line,) = _high(rows, ("kyoto", "rome", "paris"))
    assert line.startswith("most numbers of kyoto, rome are above 1: the reference is too small or too unlike")
    assert list(_high(rows, ("paris",))) == []


def test_blocks_are_given_as_layers_takes_them() -> None:
    assert spans([7, 1, 0, 3, 2, 9, 8]) == ["0-3", "7-9"]
    assert blocks(",".join(spans([5, 11, 12]))) == (5, 11, 12)
    assert spans([]) == []
