"""Whose holidays the calendar marks: HOLIDAY_COUNTRY and HOLIDAY_SUBDIVISION, checked before a build begins."""

import os

from lake.errors import SpecError


def check() -> None:
    """Raise SpecError if the `holidays` package does not know the chosen country or subdivision."""
    country, subdivision = os.environ.get("HOLIDAY_COUNTRY"), os.environ.get("HOLIDAY_SUBDIVISION")
    if not country and not subdivision:
        return  # the default is known; the import costs a tenth of a second
    import holidays

    known = holidays.list_supported_countries(include_aliases=False)
    country = country or "US"
    if country not in known:
        what = f"the holidays of {country!r} are not known"
        raise SpecError("HOLIDAY_COUNTRY", what, f"give one of {', '.join(sorted(known))}")
    if subdivision and subdivision not in known[country]:
        possible = ", ".join(known[country])
        mend = f"give one of {possible}" if possible else "leave it out: that country has none"
        raise SpecError("HOLIDAY_SUBDIVISION", f"{country} has no subdivision {subdivision!r}", mend)
