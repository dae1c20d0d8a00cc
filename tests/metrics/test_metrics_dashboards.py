"""Every panel of every dashboard, on a store with rows, as the role that Grafana reads with; and Grafana's files."""

import json
import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import yaml
from fix_servers import PROJECT
from platform_rows import DAYS, forbids_writing

from lake.errors import SpecError
from warehouse.dashboards import described, grafana, macros
from warehouse.dashboards.described import Dashboard, Panel, dashboards

GRAFANA = PROJECT / "deploy" / "grafana"
ALL = {it.uid: it for it in dashboards()}
PANELS = [pytest.param(it, panel, id=f"{it.uid}-{panel.title}") for it in ALL.values() for panel in it.panels]
VARIABLES = [pytest.param(it, one, id=f"{it.uid}-{one.name}") for it in ALL.values() for one in it.variables]
TEXT, TIME = {25, 1043, 19, 18}, {1184}
NUMBER = {20, 21, 23, 700, 701, 1700}  # int8, int2, int4, float4, float8, numeric
SINCE, UNTIL = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def reader(store_with_rows):
    """A connection of the analysts' role to a store that the platform has filled for some days."""
    _, address = store_with_rows
    assert forbids_writing(address)
    with psycopg.connect(address, autocommit=True, options="-c timezone=UTC") as connection:
        yield connection


def chosen(connection: psycopg.Connection, dashboard: Dashboard) -> dict[str, str]:
    """The variables as Grafana writes them when all values are chosen."""
    rows = {it.name: connection.execute(it.sql).fetchall() for it in dashboard.variables}
    return {name: macros.quoted([row[0] for row in found]) for name, found in rows.items()}


def answer(connection: psycopg.Connection, dashboard: Dashboard, panel: Panel, until: datetime) -> psycopg.Cursor:
    values = chosen(connection, dashboard)
    if panel.repeat:
        values[panel.repeat] = values[panel.repeat].split(",")[0]
    query = macros.written_out(panel.sql, until - timedelta(days=DAYS + 2), until, panel.every, values)
    return connection.execute(query)


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_a_panel_answers_rows_of_the_shape_it_draws(reader, until, dashboard, panel):
    found = answer(reader, dashboard, panel, until)
    columns = {column.name: column.type_code for column in found.description or ()}
    rows = found.fetchall()
    if panel.title == "Roll-ups behind" and not rows:
        licence = reader.execute("SELECT current_setting('timescaledb.license', true)").fetchone()
        assert licence == ("timescale",), "the community edition keeps its own marks, the other ours"
        return
    assert rows, "no rows in a store that has some of everything"
    names, kinds = list(columns), list(columns.values())
    if panel.kind in described.TIMED:
        assert names[0] == "time"
        assert kinds[0] in TIME
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)
        assert len({row[: 2 if "metric" in columns else 1] for row in rows}) == len(rows), "a point stands twice"
        if "metric" in columns:
            assert names == ["time", "metric", "value"]
            assert kinds[1] in TEXT
        assert set(kinds[2 if "metric" in columns else 1 :]) <= NUMBER
        assert all(value is not None for row in rows for value in row)
        if panel.kind == "band":
            assert names[1:] == ["low", "mean", "high"]
            assert all(row[1] <= row[2] <= row[3] for row in rows)
    elif panel.kind == "gauge":
        assert names == ["name", "value"]
        assert kinds[0] in TEXT
        assert kinds[1] in NUMBER
    elif panel.kind == "stat":
        assert len(rows) == 1
        assert set(kinds) <= NUMBER
    assert set(panel.units) <= {name for name, kind in columns.items() if kind in NUMBER}
    if panel.marks:
        assert {row[names.index("State")] for row in rows} <= {*panel.marks, "not watched"}


@pytest.mark.parametrize(("dashboard", "variable"), VARIABLES)
def test_a_variable_answers_one_column_of_distinct_values(reader, dashboard, variable):
    found = reader.execute(variable.sql)
    values = [value for (value,) in found.fetchall()]
    assert values
    assert values == sorted(set(values))


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_a_panel_takes_any_width_of_buckets_and_a_time_without_rows(reader, until, dashboard, panel):
    for every in ("1m", "6h", "7d"):
        wide = panel.model_copy(update={"every": every})
        names = [column.name for column in answer(reader, dashboard, wide, until).description or ()]
        assert len(names) == len(set(names))
    before = answer(reader, dashboard, panel, until - timedelta(days=300)).fetchall()
    if panel.kind in described.TIMED:
        assert before == []


@pytest.mark.parametrize("dashboard", ALL.values(), ids=ALL)
def test_grafanas_file_is_what_the_description_says(dashboard):
    path = GRAFANA / "dashboards" / f"{dashboard.uid.removeprefix('watershed-')}.json"
    assert path.read_text() == grafana.text(dashboard), f"{path.name} is stale: run `make generate` and commit"


def test_grafanas_files_have_unique_uids_units_and_the_data_source_that_is_provisioned():
    files = sorted((GRAFANA / "dashboards").glob("*.json"))
    assert {path.stem for path in files} == {uid.removeprefix("watershed-") for uid in ALL}
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/watershed.yml").read_text())["datasources"]
    models = [json.loads(path.read_text()) for path in files]
    assert len({it["uid"] for it in models}) == len(models) == len({it["title"] for it in models})
    for it in models:
        assert "id" not in it
        numbers = [panel["id"] for panel in it["panels"]]
        assert len(set(numbers)) == len(numbers)
        assert overlaps([panel["gridPos"] for panel in it["panels"]]) == []
        wanted = {"type": source["type"], "uid": source["uid"]}
        assert all(variable["datasource"] == wanted for variable in it["templating"]["list"])
        for panel in (one for one in it["panels"] if one["type"] != "row"):
            assert panel["datasource"] == wanted
            assert [target["datasource"] for target in panel["targets"]] == [wanted]
            assert panel["description"].endswith(".")
            assert panel["fieldConfig"]["defaults"]["unit"]


def overlaps(places: list[dict[str, int]]) -> list[tuple[dict[str, int], dict[str, int]]]:
    def apart(a: dict[str, int], b: dict[str, int]) -> bool:
        return (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )

    assert all(it["x"] >= 0 and it["x"] + it["w"] <= grafana.COLUMNS for it in places)
    return [(a, b) for number, a in enumerate(places) for b in places[number + 1 :] if not apart(a, b)]


def test_provisioning_takes_the_connection_from_the_environment_and_finds_the_dashboards():
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/watershed.yml").read_text())["datasources"]
    assert source["uid"] == grafana.SOURCE["uid"]
    assert source["jsonData"]["timescaledb"] is True
    for value in (source["url"], source["user"], source["jsonData"]["database"], source["secureJsonData"]["password"]):
        assert re.fullmatch(r"(\$\{WATERSHED_METRICS_[A-Z]+\}:?)+", value), value
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/watershed.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] == "${WATERSHED_DASHBOARDS}"


@pytest.mark.parametrize(
    ("sql", "written"),
    [
        ("$__timeFilter(a.b)", "a.b BETWEEN '2026-06-01T00:00:00.000000Z' AND '2026-06-02T12:00:00.000000Z'"),
        ("$__timeGroupAlias(t,'5m')", "time_bucket('300.000s',t) AS \"time\""),
        ("$__timeGroup(t, $__interval) AS time", "time_bucket('3600.000s',t) AS time"),
        ("$__timeFrom()", "'2026-06-01T00:00:00.000000Z'"),
        ("x IN ($store) OR y IN (${store})", "x IN ('1','2') OR y IN ('1','2')"),
    ],
)
def test_macros_and_variables_are_written_out_as_grafana_does(sql, written):
    assert macros.written_out(sql, SINCE, UNTIL, "1h", {"store": "'1','2'"}) == written


@pytest.mark.parametrize("sql", ["$__timeGroup(t)", "$__nothing(t)", "x IN ($shop)"])
def test_what_grafana_does_not_know_is_an_error(sql):
    with pytest.raises(SpecError):
        macros.written_out(sql, SINCE, UNTIL, "1h", {"store": "1"})


def test_chosen_values_are_quoted():
    assert macros.quoted(["it's", 3]) == "'it''s','3'"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"unit": "furlong"}, "rows.0.panels.0.unit"),
        ({"sql": "SELECT 1 ORDER BY 1"}, "a plot over time needs $__timeFilter"),
        ({"repeat": "nobody"}, "there is no variable `nobody`"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_a_description_that_says_what_it_may_not_is_refused_in_a_sentence(tmp_path, changed, said):
    panel = {
        "title": "A plot",
        "say": "A plot.",
        "kind": "lines",
        "sql": "SELECT $__timeFilter(a) ORDER BY 1",
    } | changed
    whole = {"uid": "watershed-trial", "title": "Trial", "description": "Trial.", "clock": "data"}
    (tmp_path / "trial.yml").write_text(yaml.safe_dump({**whole, "rows": [{"title": "Row", "panels": [panel]}]}))
    with pytest.raises(SpecError, match=re.escape(said)):
        dashboards(tmp_path)
