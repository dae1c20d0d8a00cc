"""A shop of one's own for a flow test: the real command as a process, on fresh databases and a fresh home."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import duckdb
import psycopg
from deltalake import DeltaTable
from fix_servers import address, database
from psycopg.conninfo import conninfo_to_dict

from lake import duck

COMMAND = str(Path(sys.executable).parent / "watershed")
TIMEOUT_S = 600
KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "DUCKDB_EXTENSIONS")  # of the environment; nothing else gets in


@dataclass(frozen=True)
class Said:
    """How a command ended: its exit code and what it said."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class Running:
    """A command under way, and what it has said so far."""

    process: "subprocess.Popen[str]"
    said: list[str] = field(default_factory=list)

    def until(self, words: str) -> Self:
        """Wait until the command says `words`."""
        for line in self._lines:
            self.said.append(line)
            if words in line:
                return self
        raise AssertionError(f"the command ended without saying {words!r}: {''.join(self.said)}")

    def end(self) -> Said:
        """Wait until the command has ended; standard error is among what it said."""
        self.said += self._lines
        return Said(self.process.wait(TIMEOUT_S), "".join(self.said), "")

    def kill(self) -> None:
        """End it and all it started as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.end()

    @property
    def _lines(self) -> Iterator[str]:
        assert self.process.stdout
        return iter(self.process.stdout)


@dataclass
class Site:
    """One shop: its home, its databases, and the variables with which the command is run."""

    home: Path
    shop_dsn: str = field(repr=False)
    metrics_dsn: str = field(repr=False)
    shop: str = "retail"
    lake_root: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lake_root = self.lake_root or str(self.place / "lake")

    @property
    def place(self) -> Path:
        return self.home / self.shop

    @property
    def environment(self) -> dict[str, str]:
        own = {"WATERSHED_HOME": str(self.home), "SHOP_DSN": self.shop_dsn, "METRICS_DSN": self.metrics_dsn}
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return {**kept, **own, "SHOP": self.shop, "COLUMNS": "200", **self.variables}

    def watershed(self, *arguments: str, **variables: str) -> Said:
        """Run the command to its end."""
        done = subprocess.run(
            [COMMAND, *arguments],
            env={**self.environment, **variables},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def begin(self, *arguments: str, until: str) -> "Running":
        """Start the command in a process group of its own; returns when a line holds `until`."""
        process = subprocess.Popen(
            [COMMAND, *arguments],
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return Running(process).until(until)

    def source(self, query: str) -> list[tuple[Any, ...]]:
        """The source's answer; also carries out changes."""
        return _ask(self.shop_dsn, query)

    def metrics(self, query: str) -> list[tuple[Any, ...]]:
        return _ask(self.metrics_dsn, query)

    def lake(self, query: str) -> list[tuple[Any, ...]]:
        """The answer of the lake's processed tables, each a view of its own name."""
        connection = duck.connect(extensions=("delta", "httpfs"))
        for table in TABLES:
            path = duck.literal(f"{self.lake_root}/processed/shop/{table}")
            connection.execute(f"create view {table} as from delta_scan({path})")
        return connection.execute(query).fetchall()

    def warehouse(self, query: str) -> list[tuple[Any, ...]]:
        """The published warehouse's answer, read by plain DuckDB."""
        with duckdb.connect(str(self.place / "warehouse" / "warehouse.duckdb"), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            return connection.execute(query).fetchall()

    def warehouse_version(self) -> int:
        """The number of the version in force."""
        return int((self.place / "warehouse" / "warehouse.duckdb").resolve().stem.rsplit("-", 1)[1])

    def delta_versions(self) -> dict[str, int]:
        """The version of every Delta table of a lake in a folder, but for the list of published versions."""
        tables = (log.parent for log in Path(self.lake_root).rglob("_delta_log"))
        found = {str(table.relative_to(self.lake_root)): DeltaTable(table).version() for table in tables}
        return {name: version for name, version in found.items() if name != "curated/warehouse/versions"}


TABLES = ("customers", "products", "stores", "orders", "order_items", "devices", "sensor_readings")
TABLES += ("stock_movements", "order_events")

# Per table: one row of figures that any lost, doubled or stale row would change; the same text on both sides.
FIGURES = {
    "customers": "count(*), sum(customer_id), count(distinct region), sum(extract(epoch from updated_at)::bigint)",
    "products": "count(*), sum(product_id), sum(unit_price_amount), sum(extract(epoch from updated_at)::bigint)",
    "stores": "count(*), sum(store_id), min(store_name), max(time_zone)",
    "orders": "count(*), sum(order_id), sum(customer_id), sum(length(status_code)), count(returned_at),"
    " sum(extract(epoch from updated_at)::bigint)",
    "order_items": "count(*), sum(order_id), sum(line_number), sum(product_id), sum(quantity), sum(sales_amount),"
    " sum(retail_discount_amount + coupon_discount_amount + coupon_match_discount_amount)",
    "devices": "count(*), sum(device_id), min(device_code)",
    "sensor_readings": "count(*), sum(device_id), sum(round(temperature_celsius * 100)::bigint),"
    " sum(round(humidity_percent * 100)::bigint), sum(extract(epoch from read_at)::bigint)",
    "stock_movements": "count(*), sum(movement_id), sum(store_id), sum(product_id), sum(quantity_change),"
    " sum(length(reason_code)), sum(extract(epoch from moved_at)::bigint),"
    " sum(extract(epoch from received_at)::bigint)",
    "order_events": "count(*), sum(order_id), sum(version), sum(length(event_type)), sum(length(payload::text)),"
    " sum(extract(epoch from occurred_at)::bigint), sum(extract(epoch from recorded_at)::bigint)",
}


def event(kind: str, of: str, instant: str = "clock") -> str:
    """SQL that writes an event of the orders for which `of` holds: a change by hand needs one, as every change does."""
    return (
        f"insert into order_events select order_id, coalesce(max(version), 0) + 1, 'order_{kind}', '{{}}', {instant},"
        f" {instant} from orders left join order_events using (order_id) cross join shop_clock.state where {of}"
        " group by order_id, clock"
    )


def assert_lake_equals_source(site: Site) -> None:
    """Every processed table holds what the source holds, by counts and sums computed on both sides."""
    for table, figures in FIGURES.items():
        query = f"select {figures} from {table}"
        assert site.lake(query) == site.source(query), table


def assert_sales_equal_source(site: Site) -> None:
    """Every order line at the source is one line of fct_sales, with its quantity, amounts and order's status."""
    ours = "count(*), count(distinct order_id), sum(quantity), sum(sales_amount), sum(discount_amount)"
    amounts = "retail_discount_amount + coupon_discount_amount + coupon_match_discount_amount"
    theirs = f"count(*), count(distinct order_id), sum(quantity), sum(sales_amount), sum({amounts})"
    sold = site.warehouse(f"select {ours} from marts.fct_sales")
    assert sold == site.source(f"select {theirs} from order_items")
    by_status = "select status_code, count(*) from {} group by 1 order by 1"
    lines = "order_items join orders using (order_id)"
    assert site.warehouse(by_status.format("marts.fct_sales")) == site.source(by_status.format(lines))


def assert_clear_refusal(said: Said, *words: str, secrets: tuple[str, ...] = ()) -> str:
    """The command failed with one sentence that holds `words`; no stack trace, no password. Returns the sentence."""
    assert said.code != 0, said.text
    assert "Traceback" not in said.text, said.text
    assert 'File "' not in said.text, said.text
    for secret in secrets:
        assert secret not in said.text
    lines = [line for line in said.text.splitlines() if "   !  " not in line]  # a notice of another try
    flat = [line for line in lines if all(word in line for word in words)]
    assert len(flat) == 1, f"not exactly one sentence with {words}:\n{said.text}"
    assert re.search(r": .+; .+", flat[0]), f"not `where: what is wrong; what to do`: {flat[0]}"
    return flat[0]


def password(dsn: str) -> str:
    """The password within a connection URI."""
    return str(conninfo_to_dict(dsn)["password"])


@contextmanager
def opened(home: Path, *, shop: str = "retail", lake_root: str = "", **variables: str) -> Iterator[Site]:
    """A site on two fresh databases, dropped at the end."""
    with ExitStack() as stack:
        shop_dsn = stack.enter_context(database(address("SHOP_DSN")))
        metrics_dsn = stack.enter_context(database(address("METRICS_DSN"), timescale=True))
        yield Site(home, shop_dsn, metrics_dsn, shop, lake_root, variables)


def _ask(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, options="-c timezone=UTC") as connection:
        cursor = connection.execute(query)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []
