"""How ``mnemotomy trace`` compares a concept with its neighbours."""

from __future__ import annotations

from typing import Any

from mnemotomy.cli.trace import _above, _advice


def test_a_concept_stands_out_by_more_than_its_neighbours_lie_apart() -> None:
    def rows(name: str, first: float, second: float, tokens: int = 100) -> list[dict[str, Any]]:
        return [
            {"concept": name, "site": site, "weight_norm": norm, "rows": tokens}
            for site, norm in (("up", first), ("down", second))
        ]

    others = [*rows("rome", 0.10, 0.30), *rows("oslo", 0.12, 0.40)]
    own = rows("kyoto", 0.15, 0.45)
    assert _above(own, others) == "stands out at 1 of 2 sites, most at up (0.150, 0.100 to 0.120)"
    assert _above(rows("kyoto", 0.13, 0.45), others) == "stands out at 0 of 2 sites"
    names = ("kyoto", "rome", "oslo")
    (how,) = _advice([*own, *others], names)
    assert "by more than these lie apart" in how
    *_, counted = _advice([*rows("kyoto", 0.1, 0.1, 126), *others], names)
    assert counted.startswith("counted tokens: kyoto 126, rome 100, oslo 100; the numbers rise with them")
