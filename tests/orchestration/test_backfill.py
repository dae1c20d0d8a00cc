"""A range of days taken again as one run: each day has its materialization, and the lake equals the source."""

import datetime
import logging
import os
from collections import Counter

import dagster as dg
import pytest
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.backfill import execute_backfill_iteration
from fix_site import assert_lake_equals_source

from orchestration import jobs
from shop import retail

DAY = datetime.timedelta(days=1)
UNTIL = datetime.datetime.now(datetime.UTC).date() - 10 * DAY
FIRST, LAST = UNTIL - 20 * DAY, UNTIL - 14 * DAY
BY_DAY = ("orders", "order_items", "sensor_readings", "stock_movements", "order_events")


def test_a_backfill_of_seven_days_is_one_run_that_materializes_each_of_them(backfilled, instance):
    wanted = {(FIRST + n * DAY).isoformat() for n in range(7)}
    for table in BY_DAY:
        for key in (dg.AssetKey(["raw", "shop", table]), dg.AssetKey(["shop", table])):
            assert set(days_of(instance, key, backfilled.run_id)) == wanted, key
    of_command = [run.run_id for run in instance.get_runs() if "dagster/backfill" not in run.tags]
    assert of_command == [backfilled.run_id, loaded_by(instance)]


def test_each_day_has_its_own_row_count(backfilled, instance, site):
    key = dg.AssetKey(["shop", "orders"])
    counts = {day: count["dagster/partition_row_count"] for day, count in days_of(instance, key, "").items()}
    per_day = "select (ordered_at at time zone 'UTC')::date::text, count(*) from orders group by 1"
    assert {day: count for day, count in counts.items() if count} == dict(site.source(per_day))


def test_a_backfill_repairs_what_no_cursor_can_see_and_leaves_other_days_alone(backfilled, site):
    at_source, in_lake = backfilled.status_before_repair
    assert at_source != in_lake
    assert_lake_equals_source(site)


def test_a_backfill_reads_the_rows_of_its_days_and_no_others(backfilled, site):
    in_days = f"ordered_at >= '{FIRST}' and ordered_at < '{LAST + DAY}'"
    (rows,) = site.source(f"select count(*) from orders where {in_days}")[0]
    assert backfilled.rows_read["raw/shop/orders"] == rows


def test_a_day_without_rows_is_materialized_too_with_none(backfilled, instance):
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    found = days_of(instance, dg.AssetKey(["shop", "orders"]), loaded_by(instance))
    assert found[today]["dagster/partition_row_count"] == 0


def test_a_backfill_of_everything_from_the_web_ui_takes_all_days_in_one_run(backfilled, instance):
    """As the daemon does it; assets without days (dimensions, dbt, metrics) are runs of their own, not one a day."""
    names = [(FIRST + n * DAY).isoformat() for n in range(7)]
    code = ModuleTarget("orchestration.definitions", None, None, "here")
    with create_test_daemon_workspace_context(code, instance) as workspace:
        graph = workspace.create_request_context().asset_graph
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id="from-the-ui",
            asset_graph=graph,
            partition_names=names,
            asset_selection=sorted(graph.materializable_asset_keys),
            backfill_timestamp=datetime.datetime.now(datetime.UTC).timestamp(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
        instance.add_backfill(backfill)
        list(execute_backfill_iteration(workspace, logging.getLogger(__name__)))
    asked = [run for run in instance.get_runs() if run.tags.get("dagster/backfill") == "from-the-ui"]
    (by_day,) = [run for run in asked if jobs.days(FIRST, LAST).items() <= run.tags.items()]
    assert by_day.asset_selection == {
        dg.AssetKey([*zone, "shop", table]) for zone in ((), ("raw",)) for table in BY_DAY
    }
    assert not [run for run in asked if run.tags.get("dagster/partition")]


class Backfilled:
    """What a backfill did after a first load: its run, and what the lake held before."""

    def __init__(self, result: dg.ExecuteInProcessResult, status_before_repair: tuple[object, object]) -> None:
        self.run_id = result.run_id
        self.status_before_repair = status_before_repair
        self.rows_read = {
            key: made[-1].metadata["rows_read"].value
            for step in {event.step_key for event in result.get_asset_materialization_events()}
            if (made := result.asset_materializations_for_node(step))
            and (key := made[-1].asset_key.to_user_string()).startswith("raw/")
        }


@pytest.fixture(scope="module")
def backfilled(site) -> Backfilled:
    """A month loaded; then the source is changed behind every cursor's back, and seven days are taken again."""
    opened = UNTIL - 30 * DAY
    retail.create(site.shop_dsn, scale=0.05, until=UNTIL, days=30, say=lambda _: None)
    os.environ["WATERSHED_FIRST_DAY"] = opened.isoformat()
    from orchestration.definitions import defs

    definitions = defs()
    execute(definitions, "changes", jobs.days(opened, datetime.datetime.now(datetime.UTC).date()))
    order = site.source(f"select min(order_id) from orders where ordered_at::date = '{FIRST}'")[0][0]
    gone = site.source(f"select min(order_id) from orders where ordered_at::date = '{LAST}'")[0][0]
    status = f"select status_code from orders where order_id = {order}"
    other = "case status_code when 'returned' then 'delivered' else 'returned' end"
    site.source(f"update orders set status_code = {other} where order_id = {order}")
    site.source(f"delete from orders where order_id = {gone}")
    before = site.lake(status)
    result = execute(definitions, "settle_day", jobs.days(FIRST, LAST))
    return Backfilled(result, (site.source(status), before))


def execute(definitions: dg.Definitions, job: str, tags: dict[str, str]) -> dg.ExecuteInProcessResult:
    """Run the lake's part of a job in this process."""
    resolved = definitions.resolve_job_def(job)
    lake = [key for key in resolved.asset_layer.executable_asset_keys if key.path[0] in ("raw", "shop")]
    with dg.DagsterInstance.get() as instance:
        result = resolved.execute_in_process(instance=instance, tags=tags, asset_selection=lake)
    assert result.success
    return result


def loaded_by(instance: dg.DagsterInstance) -> str:
    """The run of the first load."""
    return instance.get_runs()[-1].run_id


def days_of(instance: dg.DagsterInstance, key: dg.AssetKey, run_id: str) -> dict[str, dict[str, object]]:
    """Day → metadata of its newest materialization (by one run, if one is given)."""
    records = instance.fetch_materializations(dg.AssetRecordsFilter(key), limit=10_000, ascending=True).records
    made = [it for it in records if run_id in ("", it.run_id)]
    assert max(Counter((it.run_id, it.partition_key) for it in made).values()) == 1
    return {
        str(it.partition_key): {name: value.value for name, value in it.asset_materialization.metadata.items()}
        for it in made
    }
