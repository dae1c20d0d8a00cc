"""The lake's tables as people name them on the command line: `shop.orders` (all zones) or `raw/shop/orders`."""

import difflib

from lake import inventory
from lake.access import explained
from lake.errors import SpecError
from lake.layout import Address, Lake


def all_tables(lake: Lake) -> list[Address]:
    """Every table that lies in the lake; raises a PlatformError if the lake cannot be reached."""
    try:
        return inventory.tables(lake)
    except OSError as error:
        raise explained(lake, error) from None


def named(lake: Lake, name: str | None) -> list[Address]:
    """The tables that `name` means; all of them without one. Raises SpecError if it means none."""
    tables = all_tables(lake)
    if name is None:
        return tables
    found = [one for one in tables if name in (str(one), spoken(one))]
    if found:
        return found
    names = sorted({form for one in tables for form in (str(one), spoken(one))})
    close = difflib.get_close_matches(name, names, 1)
    known = sorted({spoken(one) for one in tables})
    mend = f'did you mean "{close[0]}"?' if close else f"there are: {', '.join(known) or 'none yet'}"
    raise SpecError(f"table {name}", f"is not in lake {lake.root}", mend)


def one(lake: Lake, name: str) -> Address:
    """The one table that `name` means; raises SpecError if it means several."""
    found = named(lake, name)
    if len(found) > 1:
        mend = f"say which zone: {', '.join(str(address) for address in found)}"
        raise SpecError(f"table {name}", f"is in {len(found)} zones", mend)
    return found[0]


def spoken(address: Address) -> str:
    """E.g. `shop.orders`, whatever the zone; `metrics_cold.sensor_readings` in the zone without sources."""
    return f"{address.source or address.zone}.{address.table}"
