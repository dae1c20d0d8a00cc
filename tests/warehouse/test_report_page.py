"""What a shop's manager and a data engineer may rely on when they open the report page."""

import json
import re
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest
from page_contrasts import assert_readable
from tiny_shop import Sale, published
from warehouse_lakes import at, line, order, small_shop

from lake.errors import PermanentError
from services import browser as browsers
from warehouse import build, publish
from warehouse.page import render, write
from warehouse.page.figures import figures
from warehouse.page.record import Change, Freshness, Held, Record
from warehouse.versions import Version, current

RECORD = Record(file="", version=1, shop="trial", as_of="2026-07-01T00:00:00+00:00", before=None)


def page_of(version: Version, folder: Path, record: Record = RECORD, newest: int = 1) -> Path:
    """The page of a version, in a file."""
    found = figures(version.path, until=version.published_at.date())
    path = folder / "page.html"
    path.write_text(render.rendered(version, newest, found, record).html, encoding="utf-8")
    return path


def trade(months: int = 15, currency: str = "USD") -> list[Sale]:
    """Ten customers of whom every next one comes a month later and stays, until the middle of June 2026."""
    sales: list[Sale] = []
    for back in range(months):
        day = date(2026, 6, 15) - timedelta(days=30 * back)
        for customer in range(1, 11):
            if customer <= months - back:
                name = f"Article {customer}"
                number = back * 100 + customer
                sales.append((number, customer, customer, name, day, currency, f"{customer}.25", "paid"))
    return sales


@pytest.fixture(scope="module")
def fifteen_months(tmp_path_factory):
    """A page with all that there can be on it: warnings, a stale table, quarantine, changes."""
    folder = tmp_path_factory.mktemp("page")
    record = Record(
        **{
            **RECORD.__dict__,
            "version": 2,
            "before": 1,
            "freshness": (
                Freshness("shop.orders", 5, "ordered_at", "2026-06-15T10:00:00+00:00", None, 36, True),
                Freshness("shop.items", 5, "ordered_at", "2026-06-15T10:00:00+00:00", None, 36, False),
                Freshness("shop.stores", 2, "", None, "2026-06-15T10:00:00+00:00", None, False),
            ),
            "quarantine": (Held("shop.orders", "amount is no decimal", 3, 1),),
            "changes": (
                Change("marts.fct_sales", 100, 120, 25, 5, 3, notes=("values changed: status_code (3)",)),
                Change("marts.dim_new", None, 4),
                Change("marts.dim_gone", 9, None),
            ),
        }
    )
    return page_of(published(folder, trade()), folder, record)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_from_disk_asks_for_nothing_and_is_readable(fifteen_months, browse, scheme):
    opened = browse(fifteen_months, scheme=scheme)
    assert opened.requests[0] == fifteen_months.as_uri()
    assert_readable(opened, scheme)


def test_headings_form_an_outline_and_plots_have_names_and_tables(fifteen_months, browse):
    opened = browse(fifteen_months)
    levels = opened.all("[...document.querySelectorAll('h1,h2,h3')].map(it => Number(it.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert opened.all("document.documentElement.lang") == "en"
    for plot in opened.page.locator("svg.plot").all():
        assert plot.get_attribute("role") == "img"
        assert plot.get_attribute("aria-label")
    for figure in opened.page.locator("figure").all():
        assert figure.locator("details table tbody tr").count() > 0
    assert opened.all("[...document.querySelectorAll('table')].every(it => it.caption && it.tHead)")


def test_the_switch_turns_the_colours_and_is_remembered(fifteen_months, browse):
    opened = browse(fifteen_months, scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    bar = "getComputedStyle(document.querySelector('.plot .mark-rect path')).fill"
    before = opened.all(ground), opened.all(bar)
    switch = opened.page.get_by_role("button", name="Show in light colours")
    switch.press("Enter")
    after = opened.all(ground), opened.all(bar)
    assert before[0] != after[0]
    assert before[1] != after[1]
    opened.page.reload()
    assert opened.all(ground) == after[0]
    opened.page.get_by_role("button", name="Show in dark colours").click()
    assert (opened.all(ground), opened.all(bar)) == before


def test_on_paper_it_is_light_unfolded_and_without_the_switch(fifteen_months, browse):
    opened = browse(fifteen_months, scheme="dark")
    pdf = opened.page.pdf(format="A4")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
    assert len(pdf) > 20_000
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert opened.all("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.all("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
    assert not opened.page.locator("#theme").is_visible()
    assert not opened.page.locator("nav").is_visible()
    rows = opened.page.locator("details tbody tr")
    assert rows.count() > 20
    assert all(row.is_visible() for row in rows.all())


def test_on_a_telephone_nothing_is_wider_than_the_screen(fifteen_months, browse):
    opened = browse(fifteen_months, width=390)
    opened.all("document.querySelectorAll('details').forEach(it => it.open = true)")
    assert opened.all("document.documentElement.scrollWidth") <= 390
    assert opened.page.locator("svg.narrow:visible").count() == 3
    assert opened.page.locator("svg.wide:visible").count() == 0
    sizes = opened.all(
        "[...document.querySelectorAll('svg.narrow text')].filter(it => it.textContent.trim())"
        ".map(it => it.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 9


def test_a_mark_tells_its_numbers_when_it_is_pointed_at(fifteen_months, browse):
    opened = browse(fifteen_months)
    opened.page.locator("svg.wide [data-tip]").first.hover()
    assert "USD" in opened.page.locator("#tip").inner_text()
    still = browse(fifteen_months, script=False)
    assert "USD" in still.texts("svg.wide title")[0]
    assert not still.page.locator("#theme").is_visible()


def test_what_is_stale_in_quarantine_or_changed_is_said_before_and_in_its_place(fifteen_months, browse):
    opened = browse(fifteen_months)
    said = opened.texts(".verdict li")
    assert said == ["stale: shop.orders", "4 rows and values in quarantine"]
    assert "stale, over 36 h" in opened.page.locator("[data-table='shop.orders']").inner_text()
    assert "fresh" in opened.page.locator("[data-table='shop.items']").inner_text()
    assert "not watched" in opened.page.locator("[data-table='shop.stores']").inner_text()
    cells = opened.page.locator("[data-mart='marts.fct_sales'] td").all_inner_texts()
    assert cells == ["120", "100", "25", "5", "3"]
    assert "status_code (3)" in opened.page.locator("[data-mart='marts.fct_sales'] th").inner_text()
    assert opened.page.locator("[data-mart='marts.dim_new'] td").all_inner_texts()[:2] == ["4", "new"]
    assert "No longer there: marts.dim_gone (9 rows)." in opened.page.locator("main").inner_text()


def test_names_of_products_and_tables_are_text_and_nothing_else(tmp_path, browse):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"q\" 'a' {{ 7 * 7 }} \x00\x0b]]>"
    sales: list[Sale] = [(1, 1, 1, evil, date(2026, 6, 1), "USD", "10.00", "paid")]
    sales += [(2, 1, 2, "<svg onload=alert(3)>", date(2026, 5, 1), '"><script>alert(4)</script>', "10.00", "paid")]
    held = (Held("<b>shop</b>.orders", "<script>alert(5)</script>", 1, 0),)
    record = Record(**{**RECORD.__dict__, "shop": "<script>alert(6)</script>", "quarantine": held})
    opened = browse(page_of(published(tmp_path, sales), tmp_path, record))
    opened.page.wait_for_timeout(100)
    assert opened.complaints == []
    assert len(opened.requests) == 1 or all(url.startswith(("file:", "data:")) for url in opened.requests)
    assert opened.page.locator("script").count() == 1
    assert opened.page.locator("img, svg script, foreignObject, main b").count() == 0
    assert opened.page.locator("h1").inner_text() == "<script>alert(6)</script>"
    shown = opened.texts("[data-product='1'] th")[0]
    assert shown == evil.replace("\x00\x0b", " ").replace("  ", " ")
    assert any("<script>alert(1)</script>" in text for text in opened.texts("svg.wide text"))


def test_an_empty_shop_says_so(tmp_path, browse):
    opened = browse(page_of(published(tmp_path, []), tmp_path))
    assert opened.complaints == []
    assert opened.texts(".empty") == [
        "Nothing was sold yet, so there is no revenue to show.",
        "No product was sold yet.",
        "No customer has ordered yet.",
    ]
    assert opened.page.locator("svg").count() == 0


def test_one_day_of_sales_is_a_month_so_far(tmp_path, browse):
    sales: list[Sale] = [(1, 1, 1, "Milk", date(2026, 6, 10), "USD", "10.00", "paid")]
    opened = browse(page_of(published(tmp_path, sales), tmp_path))
    assert opened.complaints == []
    assert opened.page.locator("h2").first.inner_text() == "June 2026 so far"
    assert opened.texts(".figures .value") == ["10 USD", "1", "10.00 USD", "0.0%"]
    assert "Customers so far: 1, all in one month." in opened.page.locator("#customers ~ .empty").inner_text()


def test_currencies_are_never_added(tmp_path, browse):
    sales = [*trade(3, "USD"), *((10_000 + one[0], *one[1:5], "JPY", "5000.00", "paid") for one in trade(2))]
    version = published(tmp_path, sales)
    opened = browse(page_of(version, tmp_path))
    assert opened.texts("section:has(#revenue) h3") == ["USD", "JPY"]
    heads = opened.texts("main h2")
    assert heads[:2] == ["May 2026 · USD", "May 2026 · JPY"]
    with duckdb.connect(str(version.path), read_only=True) as connection:
        query = "select sum(net_amount) from marts.fct_sales where currency_code = ? and month(order_date) = 5"
        for number, currency in enumerate(("USD", "JPY")):
            ((may,),) = connection.execute(query, [currency]).fetchall()
            row = (
                opened.page.locator("section:has(#revenue) figure").nth(number).locator("[data-month='2026-05-01'] td")
            )
            assert Decimal(row.first.text_content().replace(",", "")) == may


def test_cancelled_and_returned_orders_bring_no_revenue(tmp_path):
    sales: list[Sale] = [
        (number, number, 1, "Milk", date(2026, 5, 31), "USD", "10.00", status)
        for number, status in enumerate(("paid", "paid", "returned", "cancelled"))
    ]
    found = figures(published(tmp_path, sales).path, until=date(2026, 7, 1))
    (month,) = found.trades[0].months
    assert (month.revenue, month.orders, month.placed, month.returned, month.cancelled) == (Decimal(20), 2, 4, 1, 1)
    assert month.returned_share == pytest.approx(1 / 4)
    assert found.full_month == date(2026, 5, 1)
    assert [cohort.size for cohort in found.cohorts] == [2]


def test_what_is_dated_after_the_publish_is_left_out_and_counted(tmp_path, browse):
    sales: list[Sale] = [
        (1, 1, 1, "Milk", date(2026, 6, 30), "USD", "10.00", "paid"),
        (2, 1, 1, "Milk", date(2099, 1, 1), "USD", "10.00", "paid"),
    ]
    opened = browse(page_of(published(tmp_path, sales), tmp_path))
    assert "1 line is left out on this page" in opened.page.locator("main").inner_text()
    assert "Sales from 30 Jun 2026 to 30 Jun 2026" in opened.page.locator(".lead").inner_text()


@pytest.fixture(scope="module")
def shown(built):
    """The small shop, published once."""
    publish.publish()
    return built


def test_the_figures_equal_plain_sql_on_the_published_file(shown, browse):
    version = current()
    page = write.write(shop="corner shop", now=at(2, month=3))
    opened = browse(page.path)
    assert opened.complaints == []
    assert opened.page.locator("h1").inner_text() == "corner shop"
    assert f"Version {version.number} of the warehouse" in opened.page.locator(".lead").inner_text()
    with duckdb.connect(str(version.path), read_only=True) as connection:
        ask = lambda query: connection.execute(query).fetchall()  # noqa: E731
        paid = "not is_cancelled and not is_returned"
        months = ask(
            f"""select currency_code, strftime(date_trunc('month', order_date), '%Y-%m-01'),
                sum(net_amount) filter ({paid}), count(distinct order_id) filter ({paid})
            from marts.fct_sales group by all order by 1, 2"""
        )
        assert months
        figures_shown = opened.page.locator("section:has(#revenue) figure")
        by_month = {
            row.get_attribute("data-month"): row.locator("td").all_text_contents()
            for row in figures_shown.first.locator("tr[data-month]").all()
        }
        ours = [month for month in months if month[0] == "USD"]
        assert {month: (Decimal(cells[0].replace(",", "")), int(cells[1])) for month, cells in by_month.items()} == {
            month: (revenue or Decimal(0), orders) for _, month, revenue, orders in ours
        }
        best = ask(
            f"""select fct_sales.product_id::varchar, sum(net_amount) from marts.fct_sales
            where currency_code = 'USD' and {paid} group by all order by 2 desc, 1"""
        )
        rows = opened.page.locator("section:has(#products) figure").first.locator("tr[data-product]").all()
        listed = [(row.get_attribute("data-product"), row.locator("td").nth(3).text_content()) for row in rows]
        assert [(number, Decimal(amount)) for number, amount in listed] == best[:10]
        counts = {f"{schema}.{name}" for schema, name in ask("select schema_name, table_name from duckdb_tables()")}
        marts = opened.page.locator("[data-mart]")
        assert {mart.get_attribute("data-mart") for mart in marts.all()} == counts
        for mart in marts.all():
            name = mart.get_attribute("data-mart")
            assert mart.locator("td").first.text_content().replace(",", "") == str(
                ask(f"from {name} select count(*)")[0][0]
            )


def test_every_dbt_test_of_the_build_and_every_source_table_is_listed(shown, browse):
    opened = browse(write.write(now=at(2, month=3)).path)
    nodes = build.manifest()["nodes"].values()
    tests = {node["name"] for node in nodes if node["resource_type"] == "test"}
    listed = {row.get_attribute("data-check") for row in opened.page.locator("[data-check]").all()}
    assert tests <= listed
    assert f"{len(listed)} checks passed" in opened.texts(".verdict li")
    tables = {row.get_attribute("data-table") for row in opened.page.locator("[data-table]").all()}
    assert {"shop.orders", "shop.order_items", "shop.stores"} <= tables
    assert "This is the first publish" in opened.page.locator("section:has(#changes)").inner_text()


def test_pages_go_with_their_versions(shown):
    write.write()
    folder = shown.root / "report"
    (folder / "version-999.html").write_text("of a version that is gone")
    (folder / "version-999.json").write_text("{}")
    write.write()
    number = current().number
    assert {path.name for path in folder.glob("version-*")} >= {f"version-{number}.html", f"version-{number}.json"}
    assert not list(folder.glob("version-999.*"))
    assert (folder / "index.html").read_text() == (folder / f"version-{number}.html").read_text()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_record_of_another_release_is_gathered_anew(shown):
    write.write()
    path = shown.root / "report" / f"version-{current().number}.json"
    path.write_text('{"version": 1, "unheard": "of"}')
    write.write()
    assert json.loads(path.read_text())["version"] == current().number


def test_a_page_that_cannot_be_written_is_a_sentence_and_harms_no_publish(shown):
    version = current()
    folder = shown.root / "report"
    for path in folder.glob("*"):
        path.unlink()
    folder.rmdir()
    folder.write_text("in the way")
    try:
        said = write.attempt()
        assert isinstance(said, str)
        assert said.startswith("the report page was not written: ")
        assert said.endswith("; `watershed report` tries again")
        assert current() == version
    finally:
        folder.unlink()


def test_a_lake_that_cannot_be_read_is_said_and_the_rest_is_shown(shown, browse):
    for path in (shown.root / "report").glob("version-*.json"):
        path.unlink()
    entry = min((shown.lake / "processed" / "shop" / "orders" / "_delta_log").glob("*.json"))
    whole = entry.read_bytes()
    entry.write_bytes(b"torn")
    try:
        opened = browse(write.write().path)
    finally:
        entry.write_bytes(whole)
    assert "The lake could not be read: " in opened.page.locator("section:has(#freshness)").inner_text()
    assert opened.page.locator("svg.wide").count() >= 2
    assert opened.page.locator("[data-check]").count() > 50


def test_without_a_published_version_there_is_no_page(tmp_path):
    with pytest.raises(PermanentError, match="no warehouse has been published yet; run `make run` first"):
        write.write(tmp_path)


def test_a_browser_that_is_not_there_fails(monkeypatch, tmp_path):
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "none"))
    with pytest.raises(PermanentError, match="is no program; name the path of a Chromium"):
        browsers.executable(tmp_path, print)


def test_the_next_publish_says_what_it_changed_and_a_rollback_brings_the_page_back(rebuilt, browse):
    first = publish.publish()
    opened = browse(write.write().path)
    assert "This is the first publish" in opened.page.locator("section:has(#changes)").inner_text()
    assert (rebuilt.root / "report" / f"version-{first.number}.json").exists()
    shop = small_shop()
    rebuilt.write(
        orders=[*shop["orders"], order(7, 2, 1, at(3, month=2))],
        order_items=[*shop["order_items"], line(7, 1, 1, "4.00", at(3, month=2))],
    )
    build.run(unit_tests=False)
    second = publish.publish()
    write.write()
    opened.page.reload()
    cells = opened.page.locator("[data-mart='marts.fct_sales'] td").all_text_contents()
    assert cells == ["8", "7", "1", "0", "0"]
    assert f"Version {second.number} beside version {first.number}." in opened.page.locator("main").inner_text()
    publish.rollback()
    write.write()
    opened.page.reload()
    assert f"Version {first.number} was put back in force" in opened.page.locator("header").inner_text()
    assert opened.page.locator("[data-mart='marts.fct_sales'] td").first.text_content() == "7"
