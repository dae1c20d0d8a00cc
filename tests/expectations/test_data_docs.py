"""Data Docs are Great Expectations' own pages and open from disk without a network."""

import datetime as dt
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest

from ingestion.expectations.docs import build_data_docs
from ingestion.expectations.evaluate import evaluate
from ingestion.expectations.store import store
from ingestion.expectations.suite import suite_for
from lake import duck

NOW = dt.datetime(2026, 1, 10, 6, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def site(gx, tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    before = set(Path.home().iterdir())
    rules = (
        {
            "expect_column_values_to_be_in_set": {
                "column": "status_code",
                "value_set": ["paid", "<b>placed</b>"],
                "notes": "The till's codes.",
            }
        },
        {"expect_column_values_to_not_be_null": {"column": "paid_on"}},
    )
    table = SimpleNamespace(
        name="orders", key=("order_id",), cursor="updated_at", partition=None, mask={}, columns={}, expect=rules
    )
    suite = suite_for("shop", table)
    relation = """SELECT i AS order_id, TIMESTAMPTZ '2026-01-01' AS updated_at, now() AS _loaded_at, '' AS _load_id,
                  'i' AS _op, CASE i WHEN 3 THEN '<script>lost</script>' ELSE 'paid' END AS status_code
                  FROM range(10) t(i)"""
    with duck.connect() as connection:
        for day in range(7):
            store(folder / "home", evaluate(connection, relation, suite, now=NOW + dt.timedelta(days=day)))
    index = build_data_docs(folder / "home", [suite], folder / "site", runs=3)
    again = build_data_docs(folder / "home", [suite], folder / "site", runs=3)
    assert index == again
    assert set(Path.home().iterdir()) == before
    assert {path.name for path in folder.iterdir()} == {"home", "site"}
    return folder / "site"


class Links(HTMLParser):
    """The addresses a page would load or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if value and name in ("src", "href"):
                (self.leads if tag == "a" else self.loads).append(value)


def links(page: Path) -> Links:
    found = Links()
    found.feed(page.read_text())
    return found


def test_there_is_a_page_for_the_suite_and_for_each_of_the_last_runs(site):
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))

    assert pages[0] == "expectations/shop/orders.html"
    assert pages[1] == "index.html"
    assert [page.rsplit("/", 1)[-1] for page in pages[2:]] == [f"202601{day}T060000Z.html" for day in (14, 15, 16)]


def test_no_page_loads_anything_from_a_network(site):
    for page in site.rglob("*.html"):
        assert not [address for address in links(page).loads if "//" in address]
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", page.read_text())


def test_every_link_within_the_pages_leads_to_a_file(site):
    for page in site.rglob("*.html"):
        for address in links(page).leads:
            target, _, _ = address.partition("#")
            if target and not target.startswith("http"):
                assert (page.parent / unquote(target)).exists(), (page, address)


def test_the_index_lists_results_and_suite(site):
    text = (site / "index.html").read_text()
    rows = re.findall(r"location = '([^']+)'", text)

    assert len(rows) == 4
    assert all((site / unquote(row)).exists() for row in rows)
    assert text.count("fa-times") >= 3


def test_a_result_page_shows_what_failed_and_why(site):
    text = next(site.rglob("20260116T060000Z.html")).read_text()

    assert "1 unexpected values found" in text
    assert "&lt;script&gt;lost&lt;/script&gt;" in text
    assert "<script>lost" not in text
    assert 'column "paid_on" does not exist' in text.replace("&quot;", '"').replace("&#34;", '"')
    assert "Success Percent" in text


def test_the_suite_page_says_what_is_expected(site):
    text = (site / "expectations" / "shop" / "orders.html").read_text()

    assert "values must be unique" in text
    assert "The till" in text
