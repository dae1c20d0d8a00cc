"""Writes holidays_us.csv: the federal holidays of the United States, with the days on which they are observed.

Run `python dbt_project/seeds/holidays_us.py` after an upgrade of the `holidays` package; the file covers the whole
range of the calendar (variables `calendar_from`, `calendar_until`), so that `is_holiday` is never a guess.
"""

import csv
import sys
from pathlib import Path

import holidays

YEARS = range(1990, 2051)


def rows() -> list[tuple[str, str, str]]:
    """One row per holiday: country_code, holiday_date (ISO), holiday_name; names on one day are joined."""
    days = holidays.country_holidays("US", years=YEARS)
    return [("US", day.isoformat(), days[day].replace("; ", " / ")) for day in sorted(days) if day.year in YEARS]


def write(path: Path) -> None:
    """Write the seed file to `path`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("country_code", "holiday_date", "holiday_name"))
        writer.writerows(rows())


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".csv"))
