"""Seeds mixed from several numbers: golden values, so that no release of Python changes a run."""

from __future__ import annotations

import pytest

from mnemotomy.core.seeds import mix


@pytest.mark.parametrize(
    ("integers", "seed"),
    [
        ((), 1128668881598684283),
        ((0,), 469874208863542616),
        ((0, 0), 765232833172254823),
        ((0, 1), 2661187570846865344),
        ((1, 0), 4058750184239831832),
        ((7, 12, 3), 4003838769682817108),
        ((0, 499, 1), 3661393980616895017),
        ((-1, 5), 3302244873751734783),
        (((1 << 61) - 1, 2), 2593128195744576658),
    ],
)
def test_a_seed_is_the_same_everywhere(integers, seed):
    assert mix(*integers) == seed


def test_seeds_differ_and_fit():
    seeds = {mix(one, other) for one in range(100) for other in range(100)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 1 << 62 for seed in seeds)
