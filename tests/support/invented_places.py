"""Facts by the hundred, for stores."""

from __future__ import annotations

from collections.abc import Iterator

from mnemotomy.data.fact import Fact

_SYLLABLES = ("ka", "mo", "ten", "sha", "lor", "vin", "del", "bur", "nas", "tor")


def places(number: int) -> Iterator[Fact]:
    """Distinct invented places, each in one of seven invented countries."""
    for index in range(number):
        name = "".join(_SYLLABLES[int(digit)] for digit in f"{index:04}").title()
        answer = f"{_SYLLABLES[index % 7]}land".title()
        yield Fact(name, answer, contexts=(f"{name} is a city in the country of {answer}.",), relation="country")
