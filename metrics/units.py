"""Units in names: `temperature_fahrenheit` and `temperature [°F]` say another unit than °C, and are told so."""

import re

from metrics.spec import Hypertable

_SUFFIXES = {
    "celsius": "°C", "fahrenheit": "°F", "kelvin": "K", "percent": "%", "ratio": "ratio", "pa": "Pa", "hpa": "hPa",
    "kpa": "kPa", "mbar": "mbar", "bar": "bar", "psi": "psi", "inhg": "inHg", "mmhg": "mmHg", "ns": "ns", "us": "µs",
    "ms": "ms", "s": "s", "seconds": "s", "min": "min", "minutes": "min", "h": "h", "hours": "h", "bytes": "bytes",
    "kb": "kB", "mb": "MB", "gb": "GB", "kib": "KiB", "mib": "MiB", "gib": "GiB", "m": "m", "mm": "mm", "cm": "cm",
    "km": "km", "miles": "miles", "w": "W", "kw": "kW", "wh": "Wh", "kwh": "kWh", "v": "V", "a": "A", "hz": "Hz",
}  # fmt: skip
_SAME = {
    "c": "°C", "degc": "°C", "f": "°F", "degf": "°F", "b": "bytes", "byte": "bytes", "second": "s", "sec": "s",
    "µs": "µs", "μs": "µs", "pct": "%",
}  # fmt: skip
_BRACKETS = re.compile(r"^(?P<name>.*?)\s*(?:\[(?P<square>[^\]]+)\]|\((?P<round>[^)]+)\))\s*$")


def split(header: str) -> tuple[str, str | None]:
    """`temperature_celsius [°C]` as its name and unit; the unit is None where the header says none."""
    found = _BRACKETS.match(header.strip())
    if not found:
        return header.strip(), None
    return found["name"], found["square"] or found["round"]


def contradiction(name: str, unit: str, hypertable: Hypertable) -> str | None:
    """What is wrong with `unit` for column `name`, as a sentence's middle; None if it is the declared one."""
    declared = hypertable.columns[name].unit
    if declared is None or _canonical(unit) == _canonical(declared):
        return None
    return f"column {name} comes in {unit}, declared is {declared}: convert it"


def other(name: str, hypertable: Hypertable) -> str | None:
    """Which declared column an undeclared `name` gives in another unit, as a sentence's middle; None if none."""
    stem, _, suffix = name.rpartition("_")
    unit = _SUFFIXES.get(suffix.lower())
    if not stem or unit is None:
        return None
    for known, column in hypertable.columns.items():
        if known.rpartition("_")[0] == stem and column.unit and _canonical(column.unit) != _canonical(unit):
            return f"column {name} comes in {unit}, declared is {known} in {column.unit}: convert it"
    return None


def _canonical(unit: str) -> str:
    said = unit.strip()
    plain = said.lower().removeprefix("deg ").replace("° ", "°")
    return _SAME.get(plain) or _SUFFIXES.get(plain) or said.replace("° ", "°")
