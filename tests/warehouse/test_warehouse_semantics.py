"""Metrics by name give what SQL written by hand gives, on a warehouse that dbt built and tested."""

import json
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import warehouse_lakes
import yaml
from click.testing import CliRunner
from conftest import Place, empty
from warehouse_lakes import LOADED, line, order

from lake.errors import SpecError
from warehouse import build, publish, semantics
from warehouse.layout import PROJECT
from warehouse.semantics_names import Dimension, Names

KEPT = "not is_cancelled and not is_returned"
REVENUE = f"sum(net_amount) filter ({KEPT})"
ORDERS = f"count(distinct order_id) filter ({KEPT})"
SALES = """
    from marts.fct_sales as f
    join marts.dim_store as s on s.store_key = f.store_key
    join marts.dim_product as p on p.product_key = f.product_key
    join marts.dim_customer as c on c.customer_key = f.customer_key
    join marts.dim_date as d on d.date_key = f.date_key
"""


def busy_shop() -> dict[str, warehouse_lakes.Rows]:
    """Half a year of 300 orders in two currencies; customers move, products are unknown, orders come back."""
    chance = random.Random(7)
    shop = warehouse_lakes.small_shop()
    opened = datetime(2025, 10, 1, 9, tzinfo=UTC)
    for store, region in zip(shop["stores"], ("MA", "TK"), strict=True):
        store["region"] = region
    moved = {
        "customer_id": 1,
        "city": "Salem",
        "region": "NH",
        "created_at": opened,
        "updated_at": datetime(2026, 1, 10, tzinfo=UTC),
    }
    before = {"customer_id": 1, "city": "Boston", "region": "MA", "created_at": opened, "updated_at": opened}
    bob = {"customer_id": 2, "city": "Lowell", "region": "MA", "created_at": opened, "updated_at": opened}
    orders, lines = [], []
    for number in range(1, 301):
        at = opened + timedelta(minutes=chance.randrange(60 * 24 * 180))
        status = chance.choices(["paid", "delivered", "returned", "cancelled"], [4, 4, 1, 1])[0]
        currency = chance.choice(["USD", "USD", "JPY"])
        orders.append(
            order(
                number, chance.choice([1, 2, 98]), chance.choice([1, 2]), at, status_code=status, currency_code=currency
            )
        )
        for position in range(1, chance.randrange(2, 5)):
            price, off = (f"{chance.randrange(100, 5000) / 100:.2f}", Decimal(f"{chance.randrange(0, 90) / 100:.2f}"))
            more = {"quantity": chance.randrange(1, 4), "retail_discount_amount": off}
            lines.append(line(number, position, chance.choice([1, 2, 3, 99]), price, at, **more))
    lines.append(line(999, 1, 1, "5.00", opened))  # its order is missing: no currency
    return shop | {
        "customers": [moved, bob],
        "customers_history": [before, moved | {"_op": "u"}, bob],
        "orders": orders,
        "order_items": lines,
    }


@pytest.fixture(scope="module")
def published(folders: Place) -> Place:
    empty(folders)
    warehouse_lakes.write_all(folders.lake, busy_shop(), LOADED)
    build.run(unit_tests=False)
    publish.publish()
    return folders


QUESTIONS = {
    "revenue by month and region": (
        (["revenue"], ["month", "region"]),
        {},
        f"select date_trunc('month', order_date)::date, region, currency_code, {REVENUE}"
        " from marts.fct_sales join marts.dim_store using (store_key) group by all",
    ),
    "the customer's region at the time of the sale": (
        (["revenue", "orders"], ["customer_region"]),
        {},
        f"select c.region, currency_code, {REVENUE}, {ORDERS} {SALES} group by all",
    ),
    "a ratio of two counts": (
        (["return_rate"], ["quarter", "store_name"]),
        {},
        "select date_trunc('quarter', order_date)::date, store_name,"
        " count(distinct order_id) filter (is_returned)::double / count(distinct order_id)"
        f" {SALES} group by all",
    ),
    "average basket by weekday": (
        (["average_basket"], ["weekday", "is_holiday"]),
        {},
        f"select day_name, is_holiday, currency_code, {REVENUE}::double / nullif({ORDERS}, 0) {SALES} group by all",
    ),
    "discounts by department of one store": (
        (["discount_rate", "units"], ["department"]),
        {"where": ["region = 'MA' and product_name in ('Milk', 'Bread') or product.department = 'x'"]},
        "select department_name, currency_code,"
        f" sum(discount_amount) filter ({KEPT})::double / nullif(sum(gross_amount) filter ({KEPT}), 0),"
        f" sum(quantity) filter ({KEPT})"
        f" {SALES} where s.region = 'MA' and p.product_name in ('Milk', 'Bread') group by all",
    ),
    "days between two dates, to the day": (
        (["orders", "units_per_order", "customers"], []),
        {"since": date(2026, 1, 15), "until": date(2026, 2, 3)},
        f"select {ORDERS}, sum(quantity) filter ({KEPT}) * 1.0 / {ORDERS},"
        f" count(distinct f.customer_id) filter ({KEPT})"
        f" {SALES} where order_date between '2026-01-15' and '2026-02-03'",
    ),
    "a condition on time": (
        (["placed_orders"], ["week"]),
        {"where": ["month = '2025-12-01' and day < date '2025-12-24' - interval 1 day"]},
        f"select date_trunc('week', order_date)::date, count(distinct order_id) {SALES}"
        " where date_trunc('month', order_date) = '2025-12-01' and order_date < '2025-12-23' group by all",
    ),
    "growth against the month before": (
        (["revenue", "revenue_growth"], ["month"]),
        {},
        "with m as (select date_trunc('month', order_date)::date as month, currency_code as currency,"
        f" {REVENUE} as revenue from marts.fct_sales group by all),"
        " b as (select (month + interval 1 month)::date as month, currency, revenue as before from m)"
        " select month, currency, revenue, (revenue - before) / before from m full join b using (month, currency)"
        " where month <= (select max(month) from m)",
    ),
    "the year so far, at the end of each month": (
        (["revenue_year_to_date"], ["month"]),
        {"where": ["currency = 'USD'"], "since": date(2025, 12, 1)},
        "with m as (select date_trunc('month', order_date)::date as month,"
        f" {REVENUE} as revenue from marts.fct_sales where currency_code = 'USD' group by all),"
        " y as (select month, 'USD', sum(revenue) over (partition by year(month) order by month) from m)"
        " select * from y where month >= '2025-12-01'",
    ),
    "an average over delivered orders": (
        (["hours_to_delivery"], ["region"]),
        {},
        "select region, avg(hours_to_delivery)"
        " from marts.fct_orders join marts.dim_store using (store_key) group by all",
    ),
    "stock, never added up over days": (
        (["stock_units", "out_of_stock_rate"], ["month", "product_name"]),
        {},
        "with i as (select *, date_trunc('month', inventory_date)::date as month from marts.fct_inventory_daily)"
        " select month, product_name, sum(quantity_on_hand) filter"
        " (inventory_date = (select max(inventory_date) from i as j where j.month = i.month)),"
        " count(*) filter (is_out_of_stock) / count(*)"
        " from i join marts.dim_product using (product_key) group by all",
    ),
    "28 days that end with each day": (
        (["revenue_28_days"], ["day"]),
        {"since": date(2026, 1, 1), "until": date(2026, 1, 20)},
        f"select d.date_day, currency_code, {REVENUE} from marts.dim_date as d join marts.fct_sales"
        " on order_date between d.date_day - 27 and d.date_day"
        " where d.date_day between '2026-01-01' and '2026-01-20' group by all",
    ),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_metric_equals_sql_written_by_hand(published, name):
    (metrics, by), more, sql = QUESTIONS[name]
    question, answer = semantics.ask(metrics, by, **more)
    found, wanted = answer.fetchall(), published.published(sql)
    assert rounded(found) == rounded(wanted)
    assert found
    assert question.columns == tuple(answer.columns)


def rounded(rows):
    return sorted(
        (tuple(round(float(v), 9) if isinstance(v, float | Decimal) else v for v in row) for row in rows), key=str
    )


def test_amounts_are_never_added_up_over_currencies(published):
    _, answer = semantics.ask(["revenue", "orders"], ["region"], order=["-revenue"])
    assert answer.columns == ["region", "currency", "revenue", "orders"]
    assert {row[1] for row in answer.fetchall()} == {"USD", "JPY", "XXX"}
    _, answer = semantics.ask(["orders"], ["region"])
    assert answer.columns == ["region", "orders"]


def test_a_figure_along_time_ends_with_the_last_day_that_has_facts(published):
    ((last,),) = published.published("select max(order_date) from marts.fct_sales")
    for metric, grain in (("revenue_28_days", "day"), ("revenue_month_before", "month")):
        _, answer = semantics.ask([metric], [grain])
        assert max(row[0] for row in answer.fetchall()) <= last


def test_rows_can_be_ordered_and_limited(published):
    _, answer = semantics.ask(["revenue"], ["month"], where=["currency = 'USD'"], order=["-month"], limit=2)
    months = [row[0] for row in answer.fetchall()]
    assert len(months) == 2
    assert months == sorted(months, reverse=True)


@pytest.mark.parametrize(
    ("metrics", "more", "message"),
    [
        (["revnue"], {}, 'there is no metric "revnue"; did you mean "revenue"'),
        (["revenue"], {"by": ["regoin"]}, 'cannot be asked by "regoin"; did you mean "region"'),
        (["revenue"], {"where": ["regoin = 'MA'"]}, 'cannot be asked by "regoin"'),
        (["revenue"], {"order": ["-profit"]}, 'there is no column "profit"'),
        (["revenue_28_days"], {"by": ["region"]}, "is counted along time; add day, week, month"),
        (["revenue_growth"], {"by": ["quarter"]}, "is counted by month; ask it with --by month"),
        ([], {}, "names no metric"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(published, metrics, more, message):
    with pytest.raises(SpecError) as caught:
        semantics.ask(metrics, **more)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_found_by_their_end_and_an_ambiguous_one_names_its_choices():
    names = Names(
        "m", [Dimension(f"{it}__region", "") for it in ("store", "customer")] + [Dimension("store__city", "")]
    )
    assert names.resolved("city") == names.resolved("store.city") == names.resolved("store_city") == "store__city"
    assert names.resolved("customer_region") == "customer__region"
    with pytest.raises(SpecError, match='"region" may be store__region or customer__region; name one of them'):
        names.resolved("region")


def test_a_condition_keeps_its_strings_calls_and_units():
    names = Names("m", [Dimension("store__city", "")])
    city, month = "{{ Dimension('store__city') }}", "{{ TimeDimension('metric_time', 'month') }}"
    assert names.condition("lower(city) = 'city'") == f"lower({city}) = 'city'"
    assert (
        names.condition("month > date '2026-01-01' - interval 1 month")
        == f"{month} > date '2026-01-01' - interval 1 month"
    )
    assert names.condition(f"{city} is null") == f"{city} is null"


def test_the_command_lists_the_metrics_and_answers_in_three_forms(published, monkeypatch):
    from orchestration import site
    from watershed.cli import main

    monkeypatch.setattr(site, "enter", lambda shop: None)

    def run(*arguments: str):
        done = CliRunner().invoke(main, ["metric", *arguments])
        return done.exit_code, done.output

    code, listed = run()
    assert code == 0
    assert all(name in listed for name in semantics.layer().metrics)
    code, text = run("revenue", "--by", "region", "--format", "json", "--where", "currency = 'USD'")
    rows = json.loads(text)
    assert [row["region"] for row in rows] == ["MA", "TK"]
    assert all(set(row) == {"region", "currency", "revenue"} for row in rows)
    assert run("orders", "--by", "year", "--format", "csv")[1].splitlines()[0] == "year,orders"
    assert run("orders", "--by", "region")[1].rstrip().endswith("rows.")
    assert '"marts"."fct_sales"' in run("orders", "--sql")[1]
    assert run("orders", "--by", "regin") == (
        1,
        'Error: metric orders: cannot be asked by "regin"; did you mean "region"?\n',
    )


def test_python_asks_in_the_words_of_the_command(published, monkeypatch):
    import watershed
    from orchestration import site

    monkeypatch.setattr(site, "enter", lambda shop: None)
    answer = watershed.metric("revenue, orders", "region", where=["currency = 'USD'"], order="-revenue", limit=1)
    assert answer.columns == ["region", "currency", "revenue", "orders"]
    assert len(answer.fetchall()) == 1


def test_every_metric_has_a_description_and_answers(published):
    layer = semantics.layer()
    for metric in layer.metrics.values():
        assert metric.description, metric.name
        _, answer = semantics.ask([metric.name], [metric.grain or "month"] if metric.needs_time else [])
        assert answer.fetchall(), metric.name


def test_every_measure_and_dimension_is_described():
    text = (PROJECT / "models/marts/_semantic_models.yml").read_text()
    for model in yaml.safe_load(text)["semantic_models"]:
        assert model["description"]
        for part in (*model["dimensions"], *model.get("measures", ())):
            assert part["description"], part["name"]
