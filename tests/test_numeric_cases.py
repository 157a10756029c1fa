"""Numbers against a plain oracle in float64: each is right to the tolerance stated, or refused in words."""

from __future__ import annotations

from pathlib import Path

import numeric_forms
import numeric_range
import pytest
from counted import Counted
from helpers import relative
from oracle import Check

from mnemotomy.core.errors import MnemotomyError

CASES = [*numeric_range.CASES, *numeric_forms.CASES]


@pytest.mark.parametrize(("kind", "check", "refused"), CASES)
def test_a_number_is_right_or_refused(
    kind: str, check: Check, refused: str | None, counted: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with counted("numeric cases", kind) as outcome:
        if refused is not None:
            with pytest.raises(MnemotomyError, match=refused):
                check()
            outcome.refused = 1
        else:
            found, expected, tolerance = check()
            assert found.shape == expected.shape
            assert relative(found.detach(), expected.detach()) <= tolerance


def test_there_are_as_many_cases_as_were_tried_by_hand() -> None:
    assert len({case.id for case in CASES}) == len(CASES) >= 61
