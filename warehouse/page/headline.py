"""The few figures that stand first: the last full month of each currency, beside the month and the year before."""

import datetime
from dataclasses import dataclass
from decimal import Decimal

from warehouse.page.figures import Figures, Month, Trade, month_after

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Figure:
    """One figure as it is shown, and what it is compared with; `trends` are (sentence, up | down | even)."""

    name: str
    value: str
    trends: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Headline:
    """The figures of one currency, and the month they are of, in words."""

    currency: str
    month: str
    figures: tuple[Figure, ...]


def headlines(found: Figures) -> tuple[Headline, ...]:
    """One for each currency with plots of its own; nothing without sales."""
    if found.last_day is None or found.first_day is None:
        return ()
    start = found.full_month or found.last_day.replace(day=1)
    so_far = "" if found.full_month else " so far"
    made = []
    for trade in found.trades:
        month = trade.month(start)
        if month is not None:
            made.append(Headline(trade.currency, f"{start:%B %Y}{so_far}", _figures(trade, month, found.first_day)))
    return tuple(made)


def _figures(trade: Trade, month: Month, first_day: datetime.date) -> tuple[Figure, ...]:
    before, year_before = (trade.month(month_after(month.start, months)) for months in (-1, -12))
    compared = [(_named(other, first_day), other) for other in (before, year_before) if other is not None]
    revenue = tuple(_trend(name, month.revenue, other.revenue) for name, other in compared)
    orders = tuple(_trend(name, month.orders, other.orders) for name, other in compared)
    baskets = tuple(_trend(name, month.basket or 0, other.basket or 0) for name, other in compared)
    returned = tuple(
        (f"{other.returned_share:.1%} in {name}", "even")
        for name, other in compared
        if other.returned_share is not None
    )
    return (
        Figure("Revenue", money(month.revenue, trade.currency), revenue),
        Figure("Orders", f"{month.orders:,}", orders),
        Figure("Average basket", DASH if month.basket is None else money(month.basket, trade.currency, 2), baskets),
        Figure(
            "Returned of placed orders",
            DASH if month.returned_share is None else f"{month.returned_share:.1%}",
            returned,
        ),
    )


def money(amount: Decimal, currency: str, digits: int = 0) -> str:
    """An amount with its currency, as it is shown."""
    return f"{amount:,.{digits}f} {currency_name(currency)}"


def currency_name(code: str) -> str:
    """The currency's code; ISO 4217 knows XXX for none, which lines have whose order is missing."""
    return "without currency" if code == "XXX" else code


def _named(month: Month, first_day: datetime.date) -> str:
    """A month that another one is held against; one in which the data only begin is no whole month."""
    begun = f" (from {first_day.day} {first_day:%b} on)" if month.start < first_day else ""
    return f"{month.start:%b %Y}{begun}"


def _trend(name: str, now: Decimal | int, before: Decimal | int) -> tuple[str, str]:
    if not before:
        return f"nothing in {name}", "even"
    change = float(now - before) / float(before)
    if abs(change) < 0.0005:
        return f"as {name}", "even"
    return f"{change:+.1%} on {name}".replace("-", MINUS), "up" if change > 0 else "down"
