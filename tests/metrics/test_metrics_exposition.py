"""What Prometheus reads of the platform: names by its conventions, figures as the store holds them, never an error."""

import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pyarrow as pa
import pytest
import yaml
from fix_servers import PROJECT
from metrics_rows import NOW, address
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from lake.errors import Busy, PermanentError
from metrics import exposition, record
from metrics.batches import arrow_schema
from metrics.exposition import Figures
from metrics.load import load

EARLIER = NOW - timedelta(hours=1)
# Units that are no base units, as `promtool check metrics` knows them.
NO_BASE = {"milliseconds", "minutes", "hours", "days", "kilobytes", "megabytes", "percent", "celsius_degrees"}


def exposed(figures: Figures) -> str:
    registry = CollectorRegistry()
    registry.register(figures)
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, ...], float]:
    """(name, label=value, …) → value, as Prometheus' own parser reads it."""
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def filled(store, declared):
    """A store in which two assets have run twice, and the platform has looked at a table, checks and servers."""
    runs = [
        record.Run(EARLIER, "raw/shop/orders", "one", None, 10, 1000, 2.5),
        record.Run(NOW, "raw/shop/orders", "two", None, 4, 400, 1.5),
        record.Run(EARLIER, "warehouse/published", "one", None, None, None, 30.0, is_success=False),
    ]
    record.runs(store, runs, now=NOW)
    rows = {
        "table_freshness": [
            {"measured_at": at, "source": "shop", "table_name": "orders", "newest_at": NOW - timedelta(hours=3),
             "loaded_at": EARLIER, "lag_s": lag, "allowed_lag_s": 7200.0, "row_count": 7, "is_fresh": lag < 7200}
            for at, lag in ((EARLIER, 7000.0), (NOW, 10800.0))
        ],
        "check_results": [
            {"finished_at": at, "asset": "marts/fct_sales", "check_name": name, "run_id": f"{at:%H}",
             "is_passed": passed, "severity": severity, "duration_s": 0.1}
            for at, name, passed, severity in (
                (EARLIER, "unique", False, "ERROR"), (NOW, "unique", True, "ERROR"),
                (NOW, "relations", True, "ERROR"), (NOW, "range", False, "WARN"),
            )
        ],
        "server_stats": [
            {"measured_at": NOW, "server": "shop", "kind": "postgres", "is_up": True, "response_s": 0.02,
             "connections": 3, "max_connections": 100, "queries": 5000, "query_time_s": 12.5,
             "cache_hit_ratio": 0.98, "disk_bytes": 1 << 30},
            {"measured_at": NOW, "server": "lake", "kind": "s3", "is_up": False, "response_s": 3.0,
             "problem": "does not answer"},
        ],
    }  # fmt: skip
    for name, values in rows.items():
        table = pa.Table.from_pylist(values, schema=arrow_schema(declared[name]))
        load(store, declared[name], table.to_reader(), now=NOW)
    return store


def test_names_types_and_help_keep_to_the_conventions_of_prometheus(filled, declared):
    text = exposed(Figures(filled, declared, watch=lambda: [("lag", "sensor_readings", True)]))
    families = list(text_string_to_metric_families(text))
    assert len(families) > 30
    assert len({family.name for family in families}) == len(families)
    for family in families:
        said = family.name + ("_total" if family.type == "counter" else "")
        assert re.fullmatch(r"watershed_[a-z0-9]+(_[a-z0-9]+)*", family.name), said
        assert family.documentation.strip().endswith("."), f"{said} lacks a sentence of help"
        assert not NO_BASE & set(family.name.split("_")), f"{said} is not in a base unit"
        assert (family.type == "counter") == (f"\n{family.name}_total" in text), said
        assert family.type in {"counter", "gauge"}, said
        if "timestamp" in family.name or "duration" in family.name or "_lag" in family.name:
            assert family.name.endswith("_seconds"), said
        for sample in family.samples:
            assert set(sample.labels) <= LABELS, said


def test_the_sample_rules_of_prometheus_use_figures_and_labels_that_there_are(filled, declared):
    folder = PROJECT / "deploy" / "prometheus"
    config = yaml.safe_load((folder / "prometheus.yml").read_text())
    assert config["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:9464"]
    (group,) = yaml.safe_load((folder / config["rule_files"][0]).read_text())["groups"]
    told = exposed(Figures(filled, declared, watch=lambda: [("lag", "sensor_readings", True)]))
    names = set(re.findall(r"^(watershed_\w+)", told, re.MULTILINE)) | set(re.findall(r"# TYPE (\S+)", told))
    if declared.edition == "community" or 'edition="community"' in told:
        names.add("watershed_rollup_waiting_since_timestamp_seconds")  # told of the Apache-2 edition only
    alerts = [rule["alert"] for rule in group["rules"]]
    assert len(set(alerts)) == len(alerts)
    for rule in group["rules"]:
        assert set(re.findall(r"watershed_\w+", rule["expr"])) <= names, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= LABELS


LABELS = {
    "asset", "source", "table", "severity", "outcome", "server", "kind", "hypertable", "rollup", "check", "collector",
    "edition", "timescaledb_version", "postgresql_version",
}  # fmt: skip


def test_the_last_row_of_each_asset_table_and_server_is_told(filled, declared):
    read = samples(exposed(Figures(filled, declared)))
    assert read["watershed_metrics_store_up",] == 1
    whole = {key[1].partition("=")[2]: value for key, value in read.items() if "collector_success" in key[0]}
    groups = {"runs", "freshness", "checks", "servers", "hypertables", "newest"}
    assert whole == dict.fromkeys(groups | ({"rollups"} & set(whole)), 1)
    orders = "asset=raw/shop/orders"
    assert read["watershed_asset_last_run_timestamp_seconds", orders] == NOW.timestamp()
    assert read["watershed_asset_last_run_duration_seconds", orders] == 1.5
    assert read["watershed_asset_last_run_rows", orders] == 4
    assert read["watershed_asset_last_run_size_bytes", orders] == 400
    assert read["watershed_asset_last_run_success", orders] == 1
    assert read["watershed_asset_last_run_success", "asset=warehouse/published"] == 0
    assert ("watershed_asset_last_run_rows", "asset=warehouse/published") not in read
    table = ("source=shop", "table=orders")
    assert read["watershed_table_lag_seconds", *table] == 10800
    assert read["watershed_table_fresh", *table] == 0
    assert read["watershed_table_newest_timestamp_seconds", *table] == (NOW - timedelta(hours=3)).timestamp()
    assert read["watershed_server_up", "kind=s3", "server=lake"] == 0
    assert read["watershed_server_queries_total", "kind=postgres", "server=shop"] == 5000
    assert read["watershed_server_disk_bytes", "kind=postgres", "server=shop"] == 1 << 30
    assert ("watershed_server_connections", "kind=s3", "server=lake") not in read


def test_a_check_counts_as_it_ended_last_and_no_series_comes_and_goes(filled, declared):
    read = samples(exposed(Figures(filled, declared)))
    assert {key[1:]: value for key, value in read.items() if key[0] == "watershed_checks"} == {
        ("outcome=passed", "severity=error"): 2,
        ("outcome=failed", "severity=error"): 0,
        ("outcome=passed", "severity=warn"): 0,
        ("outcome=failed", "severity=warn"): 1,
    }


def test_hypertables_are_told_with_chunks_bytes_and_newest_row(filled, declared, readings):
    load(filled, declared["sensor_readings"], readings.table(EARLIER, 6).to_reader(), now=NOW)
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("ANALYZE metrics.sensor_readings")
    read = samples(exposed(Figures(filled, declared)))
    name = "hypertable=sensor_readings"
    assert read["watershed_hypertable_chunks", name] == 1
    assert read["watershed_hypertable_size_bytes", name] > 8192
    assert read["watershed_hypertable_rows", name] == 18
    newest = EARLIER + timedelta(minutes=50)
    assert read["watershed_hypertable_newest_timestamp_seconds", name] == newest.timestamp()


def test_a_store_that_is_down_is_a_figure_and_a_sentence_told_once(declared, store):
    said: list[str] = []
    down = Figures(address(store, port="1", host="127.0.0.1"), declared, say=said.append, kept_s=0)
    for _ in range(2):
        read = samples(exposed(down))
        assert read["watershed_up",] == 1
        assert read["watershed_metrics_store_up",] == 0
        assert not [key for key in read if key[0].startswith("watershed_asset")]
    assert len(said) == 1
    assert "does not answer" in said[0]
    down.dsn = store
    assert samples(exposed(down))["watershed_metrics_store_up",] == 1
    assert said[1:] == ["the metrics store, scraped: answers again"]


def test_a_group_that_fails_is_missing_and_the_others_are_told(filled, declared):
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("DROP TABLE metrics.check_results CASCADE")
    read = samples(exposed(Figures(filled, declared)))
    assert read["watershed_collector_success", "collector=checks"] == 0
    assert read["watershed_collector_success", "collector=runs"] == 1
    assert not [key for key in read if key[0] == "watershed_checks"]
    assert read["watershed_server_up", "kind=postgres", "server=shop"] == 1


def test_a_store_that_is_slow_gives_what_it_can_before_prometheus_loses_patience(filled, declared):
    read = samples(exposed(Figures(filled, declared, enough_s=-1)))
    assert read["watershed_metrics_store_up",] == 1
    assert {value for key, value in read.items() if key[0] == "watershed_collector_success"} == {0}
    assert not [key for key in read if key[0].startswith("watershed_asset")]


def test_series_of_a_group_are_bounded_and_the_cut_is_told(filled, declared, monkeypatch):
    monkeypatch.setattr(exposition, "MOST", 1)
    read = samples(exposed(Figures(filled, declared)))
    assert len([key for key in read if key[0] == "watershed_asset_last_run_success"]) == 1
    assert read["watershed_collector_success", "collector=runs"] == 0
    assert read["watershed_collector_success", "collector=freshness"] == 1


def test_two_scrapes_within_seconds_read_the_store_once(filled, declared):
    clock = [100.0]
    figures = Figures(filled, declared, ticks=lambda: clock[0])
    first = exposed(figures)
    record.runs(filled, [record.Run(NOW, "raw/shop/items", "two", duration_s=1.0)], now=NOW)
    clock[0] += exposition.KEPT_S / 2
    assert exposed(figures) == first
    clock[0] += exposition.KEPT_S
    assert 'asset="raw/shop/items"' in exposed(figures)


def test_a_name_with_quotes_and_line_ends_stays_one_label(filled, declared):
    name = 'a "quoted\\"\nasset'
    record.runs(filled, [record.Run(NOW, name, "two", duration_s=1.0)], now=NOW)
    read = samples(exposed(Figures(filled, declared)))
    assert read["watershed_asset_last_run_duration_seconds", f"asset={name}"] == 1.0


def test_the_watchdogs_checks_are_figures_and_one_failure_of_a_check_fails_it(filled, declared):
    found = [("rollup_lag", "sensor_readings", True), ("rollup_lag", "sensor_readings", False), ("chunks", "x", True)]
    read = samples(exposed(Figures(filled, declared, watch=lambda: found)))
    assert read["watershed_watchdog_check_passed", "check=rollup_lag", "hypertable=sensor_readings"] == 0
    assert read["watershed_watchdog_check_passed", "check=chunks", "hypertable=x"] == 1


@contextmanager
def served(figures: Figures) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = exposition.serve(figures, "127.0.0.1", port)
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()


def test_it_answers_over_http_and_a_port_that_is_taken_is_a_sentence(filled, declared):
    figures = Figures(filled, declared)
    with served(figures) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            assert samples(answer.read().decode())["watershed_metrics_store_up",] == 1
        with pytest.raises(Busy, match=rf"127.0.0.1:{port}: the port is taken.*--port {port + 1}"):
            exposition.serve(figures, "127.0.0.1", port)
        with suppress(OSError), socket.create_connection(("127.0.0.2", port), timeout=1):
            pytest.fail("it listens on more than it was told")
    with pytest.raises(PermanentError, match="cannot be listened on"):
        exposition.serve(figures, "192.0.2.1", port)


def test_instants_are_utc_whatever_the_server_thinks(filled, declared):
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("ALTER ROLE CURRENT_USER IN DATABASE {} SET timezone = 'Asia/Tokyo'".format(
            psycopg.conninfo.conninfo_to_dict(filled)["dbname"]
        ))  # fmt: skip
    read = samples(exposed(Figures(filled, declared)))
    told = read["watershed_asset_last_run_timestamp_seconds", "asset=raw/shop/orders"]
    assert datetime.fromtimestamp(told, UTC) == NOW
