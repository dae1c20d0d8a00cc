"""Stock by the day, right also where movements are booked late."""

from warehouse_lakes import at, moved, small_shop

from lake import duck
from warehouse import build

STOCK = {"select": ["fct_inventory_daily", "assert_stock_adds_up"], "exclude": ["test_type:unit"]}
DAYS = "select extract(day from inventory_date), quantity_on_hand from marts.fct_inventory_daily where store_id = {}"


def test_every_store_and_article_has_its_days_in_the_stores_own_time(built):
    assert ask(built, DAYS.format(1)) == [(4, 10), (5, 7), (6, 7), (7, 7), (8, 7), (9, 8)]
    assert ask(built, DAYS.format(2)) == [(7, 5), (8, 5), (9, 5)]


def test_a_movement_booked_late_changes_every_day_since_and_one_of_today_adds_a_day(rebuilt):
    movements = small_shop()["stock_movements"]
    late = moved(5, 1, 1, at(6), "waste", -2) | {"received_at": at(10)}
    rebuilt.write(stock_movements=[*movements, late])
    assert build.run(**STOCK).is_ok
    assert ask(rebuilt, DAYS.format(1)) == [(4, 10), (5, 7), (6, 5), (7, 5), (8, 5), (9, 6), (10, 6)]
    rebuilt.write(stock_movements=[])
    assert build.run(**STOCK).is_ok
    assert ask(rebuilt, DAYS.format(1)) == []


def ask(place, sql: str) -> list[tuple[object, ...]]:
    with duck.connect(place.layout.build, read_only=True) as connection:
        return connection.execute(f"{sql} order by all").fetchall()
