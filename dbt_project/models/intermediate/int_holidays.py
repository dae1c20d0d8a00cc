"""The public holidays of HOLIDAY_COUNTRY in the calendar's years, as the `holidays` package knows them."""

import os


def model(dbt, session):
    """One row per holiday; names that fall on one day are joined by a semicolon."""
    dbt.config(materialized="table")
    import holidays
    import pyarrow as pa

    first, last = dbt.ref("int_calendar_days").aggregate("year(min(date_day)), year(max(date_day))").fetchone()
    country = os.environ.get("HOLIDAY_COUNTRY") or "US"
    subdivision = os.environ.get("HOLIDAY_SUBDIVISION") or None
    found = holidays.country_holidays(country, subdiv=subdivision, years=range(first, last + 1))
    days = sorted(day for day in found if first <= day.year <= last)
    columns = {
        "holiday_date": pa.array(days, pa.date32()),
        "country_code": pa.array([country] * len(days), pa.string()),
        "subdivision_code": pa.array([subdivision] * len(days), pa.string()),
        "holiday_name": pa.array([found[day] for day in days], pa.string()),
    }
    return pa.table(columns)
