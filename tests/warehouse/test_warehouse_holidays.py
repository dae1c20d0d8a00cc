"""The calendar's holidays are those of the chosen country, as the library knows them."""

import holidays
import pytest

from lake import duck
from lake.errors import SpecError
from warehouse import build

DATES = {"select": ["+dim_date"], "exclude": ["test_type:data", "test_type:unit"]}


def calendar(place) -> dict[object, str]:
    with duck.connect(place.layout.build, read_only=True) as connection:
        return dict(connection.execute("select date_day, holiday_name from marts.dim_date where is_holiday").fetchall())


@pytest.mark.parametrize(("country", "subdivision"), [("US", ""), ("DE", "BY"), ("BR", "")])
def test_holidays_are_those_of_the_country(place, monkeypatch, country, subdivision):
    monkeypatch.setenv("HOLIDAY_COUNTRY", country)
    monkeypatch.setenv("HOLIDAY_SUBDIVISION", subdivision)
    build.run(**DATES)
    wanted = holidays.country_holidays(country, subdiv=subdivision or None, years=[2026, 2027])
    assert calendar(place) == {day: name for day, name in wanted.items() if day.year in (2026, 2027)}


@pytest.mark.parametrize(
    ("country", "subdivision", "sentence"),
    [
        ("Utopia", "", "HOLIDAY_COUNTRY: the holidays of 'Utopia' are not known; give one of AD, AE, "),
        ("DE", "ZZ", "HOLIDAY_SUBDIVISION: DE has no subdivision 'ZZ'; give one of BB, BE, BW, BY, "),
    ],
)
def test_a_country_or_subdivision_that_is_not_known_is_said_with_what_is_possible(
    place, monkeypatch, country, subdivision, sentence
):
    monkeypatch.setenv("HOLIDAY_COUNTRY", country)
    monkeypatch.setenv("HOLIDAY_SUBDIVISION", subdivision)
    with pytest.raises(SpecError) as failed:
        build.run(**DATES)
    assert str(failed.value).startswith(sentence)
    assert not place.layout.build.exists()
