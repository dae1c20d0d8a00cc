"""Values as a person reads them, and the labels of an axis, by the unit that a panel names."""

import datetime
from typing import Any

from warehouse.dashboards.described import Unit
from warehouse.page.headline import DASH, MINUS

_SPANS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
# Vega expressions: an axis names few values, so they may be short.
LABELS: dict[str, str] = {
    "s": "datum.value >= 86400 ? format(datum.value / 86400, '.2~r') + ' d' : "
    "datum.value >= 3600 ? format(datum.value / 3600, '.2~r') + ' h' : "
    "datum.value >= 60 ? format(datum.value / 60, '.2~r') + ' min' : format(datum.value, '.2~r') + ' s'",
    "bytes": "datum.value ? replace(format(datum.value, '.3~s'), regexp('([a-zA-Z])$'), ' $1') + 'B' : '0'",
    "percentunit": "format(datum.value, '.3~%')",
    "percent": "format(datum.value, '.3~r') + '%'",
    "humidity": "format(datum.value, '.3~r') + '%'",
    "celsius": "format(datum.value, '.3~r') + ' °C'",
    "pressurehpa": "format(datum.value, ',.4~r') + ' hPa'",
}
PLAIN = "datum.value >= 1e4 ? format(datum.value, '.3~s') : format(datum.value, ',.4~r')"


def shown(value: Any, unit: Unit = "short") -> str:
    """A value of a table or of a mark: `1.5 min`, `12.3 MB`, `97.3%`, `1,234`; a dash for none."""
    if value is None or value == "":
        return DASH
    if isinstance(value, datetime.datetime):
        return f"{value.astimezone(datetime.UTC):%Y-%m-%d %H:%M}"
    if isinstance(value, bool | str):
        return str(value)
    number = float(value)
    match unit:
        case "s":
            return _scaled(number, _SPANS) or f"{number * 1000:.0f} ms"
        case "bytes":
            return _scaled(number, _SIZES) or f"{number:,.0f} B"
        case "percentunit":
            return f"{number:.1%}"
        case "percent" | "humidity":
            return f"{number:.1f}%"
        case "celsius":
            return f"{number:.1f} °C".replace("-", MINUS)
        case "pressurehpa":
            return f"{number:,.1f} hPa"
    return f"{number:,.0f}" if number == int(number) else f"{number:,.2f}"


def is_number(value: Any) -> bool:
    """Whether a cell stands to the right."""
    return hasattr(value, "__float__") and not isinstance(value, bool | str)


def _scaled(number: float, sizes: tuple[tuple[int, str], ...]) -> str | None:
    for size, name in sizes:
        if abs(number) >= size:
            value = number / size
            return f"{value:,.1f} {name}" if value < 100 and value != int(value) else f"{value:,.0f} {name}"
    return f"0 {sizes[-1][1]}" if number == 0 else None
