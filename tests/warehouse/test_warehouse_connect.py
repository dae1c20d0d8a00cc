"""`watershed.connect()`: marts, lake and metrics store on one connection, the last by a role that may only read."""

import io
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import duckdb
import psycopg
import pytest
import small_warehouse
import warehouse_lakes
from fix_servers import PROJECT, address, database

import watershed
from lake.errors import PlatformError
from metrics import readers, spec, state
from metrics.server import connected
from services import postgres, record
from warehouse import prompt

SALES = "select sum(net_amount) as sales from metrics_store.sales_hourly"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WATERSHED_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WAREHOUSE_ROOT", str(tmp_path / "warehouse"))
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    monkeypatch.delenv("METRICS_READER_DSN", raising=False)
    small_warehouse.publish(tmp_path / "warehouse")
    warehouse_lakes.write(
        tmp_path / "lake", "orders", [warehouse_lakes.order(1, 1, 1, datetime(2026, 1, 5, tzinfo=UTC))]
    )
    return tmp_path


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[str, str]]:
    """A metrics database with one row of sales: the DSN of its owner and of the role that reads it."""
    with database(address("METRICS_DSN"), timescale=True) as owner:
        name = urlsplit(owner).path.strip("/")
        reader = postgres.reader(PROJECT, name) if record.state(PROJECT).get("POSTGRES_ADMIN_DSN") else None
        assert reader, "the servers of the tests are those that `watershed up` starts"
        with connected(owner) as connection:
            state.apply(connection, spec.read())
            assert readers.allow(connection, reader) == ["role watershed_analyst may read schema metrics"]
            assert readers.allow(connection, reader) == []
            connection.execute("insert into metrics.sales_hourly values (now(), 1, 1, 1, 1, 2.50, 0, 2.50)")
            connection.commit()
        yield owner, reader


def ask(command: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return prompt.run(command, form="csv", out=out, err=err), out.getvalue(), err.getvalue()


def test_marts_lake_and_metrics_store_answer_one_question(store, monkeypatch):
    monkeypatch.setenv("METRICS_READER_DSN", store[1])
    with watershed.connect() as db:
        (found,) = db.sql(
            f"select (select count(*) from fct_sales), (select count(*) from shop.orders), ({SALES})"
        ).fetchall()
    assert [float(value) for value in found] == [7, 1, 2.5]
    assert ask(SALES) == (0, "sales\n2.50\n", "")
    assert ask(SALES.replace("metrics_store", "metrics_all")) == (0, "sales\n2.50\n", "")
    assert (
        'sales_amount,"DECIMAL(18,2)",,What the retailer receives. Unit: currency of the store.\n'
        in ask("\\d metrics_store.sales_hourly")[1]
    )
    assert "metrics_store,sales_hourly_1d,," in ask("\\dt *_1d")[1]
    assert "metrics_all,the metrics store with what it has moved to the lake" in ask("\\l")[1]


def test_a_question_to_the_warehouse_alone_loads_no_delta_and_no_arrow():
    ask_one = "from warehouse import prompt; import sys; prompt.run('select 1')"
    tell = "print([name for name in ('deltalake', 'pyarrow', 'pandas', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{ask_one}; {tell}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_version_published_later_is_not_seen_until_one_connects_again(root):
    with watershed.connect() as db:
        small_warehouse.publish(root / "warehouse", 2)
        assert db.sql("select number from version").fetchall() == [(1,)]
    with watershed.connect() as db:
        assert db.sql("select number from version").fetchall() == [(2,)]
    with watershed.connect(as_of="2026-11-01T07:30Z") as db:
        assert db.sql("select number from version").fetchall() == [(1,)]


def test_the_analysts_role_can_change_nothing_even_when_duckdb_lets_it_try(store, monkeypatch):
    monkeypatch.setenv("METRICS_READER_DSN", store[1])
    with watershed.connect() as db:
        with pytest.raises(duckdb.Error, match="read-only mode"):
            db.execute("delete from metrics_store.sales_hourly")
        for change in ("delete from metrics.sales_hourly", "create table public.mine (a int)", "drop schema metrics"):
            with pytest.raises(duckdb.Error, match=r"permission denied|must be owner"):
                db.execute(
                    f"from postgres_execute('metrics_store', 'rollback; begin read write; {change}; commit; begin')"
                )
    with psycopg.connect(store[1], autocommit=True) as connection:
        assert connection.execute("show statement_timeout").fetchone() == ("5min",)
        with pytest.raises(psycopg.Error):
            connection.execute("create table metrics.mine (a int)")


def test_no_password_is_shown(store, monkeypatch):
    monkeypatch.setenv("METRICS_READER_DSN", store[1])
    secret = urlsplit(store[1]).password or ""
    with watershed.connect() as db:
        for catalogue in ("duckdb_databases()", "duckdb_secrets()", "duckdb_settings()"):
            assert secret not in str(db.sql(f"from {catalogue}").fetchall())


@pytest.mark.parametrize(
    ("dsn", "says"),
    [
        (None, "no role for analysts is known; run `make run` once, or let METRICS_READER_DSN name a role"),
        ("postgresql://a:geheim@127.0.0.1:1/metrics", "does not answer; start the server (`watershed up`)"),
        ("host=here", "METRICS_READER_DSN: is no libpq URI"),
        ("wrong password", "the server refuses user, password or database"),
    ],
)
def test_without_the_metrics_server_the_rest_works_and_a_question_to_it_says_why(store, dsn, says, monkeypatch):
    if dsn == "wrong password":
        parts = urlsplit(store[1])
        dsn = parts._replace(
            netloc=f"{parts.username}:{quote('geheim', safe='')}@{parts.hostname}:{parts.port}"
        ).geturl()
    if dsn:
        monkeypatch.setenv("METRICS_READER_DSN", dsn)
    with watershed.connect() as db:
        assert db.sql("select count(*) from fct_sales, shop.orders").fetchall() == [(7,)]
        for question in (
            SALES,
            "select count(*) from metrics_store.sales_hourly_1d",
            "from metrics_store.sales_hourly",
        ):
            with pytest.raises(duckdb.Error) as caught:
                db.execute(question)
            assert says in str(caught.value)
    code, out, err = ask(SALES)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert says in err
    assert "geheim" not in err
    assert ask("select count(*) as n from shop.orders") == (0, "n\n1\n", "")


def test_a_locked_connection_is_for_sql_that_somebody_else_wrote(root):
    with watershed.connect(locked=True, memory_limit="300MB", threads=1) as db:
        assert db.sql("select count(*) from shop.orders").fetchall() == [(1,)]
        assert db.sql("select current_setting('threads')").fetchall() == [(1,)]
        for statement in ("from read_csv('/etc/passwd')", "set threads = 8", f"attach '{root}/x.duckdb'"):
            with pytest.raises(duckdb.Error):
                db.execute(statement)
    with watershed.connect() as db:  # one's own Python, with one's own rights
        db.execute(f"copy (from fct_sales) to '{root}/mine.parquet'")
        with pytest.raises(duckdb.Error, match="read-only mode"):
            db.execute("drop table fct_sales")


def test_an_empty_lake_and_a_site_that_was_never_run_are_one_sentence(root, monkeypatch):
    monkeypatch.setenv("LAKE_ROOT", str(root / "empty"))
    with watershed.connect() as db:
        assert db.sql("select count(*) from fct_sales").fetchall() == [(7,)]
    assert ask("select * from shop.orders")[2] == "lake: holds no tables yet; run `make run` first\n"
    monkeypatch.setenv("WAREHOUSE_ROOT", str(root / "never"))
    with pytest.raises(PlatformError, match="no warehouse has been published yet; run `make run` first"):
        watershed.connect()


def test_importing_watershed_is_light():
    import subprocess
    import sys

    code = "import sys, watershed; print([name for name in sys.modules if name in ('duckdb', 'pyarrow', 'dagster')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
