"""What Dagster's bookkeeping of a run over many days costs: the platform's event log beside Dagster's stock one.

One asset that does nothing but say of each day how many rows it has, with one check. Prints CPU-seconds and seconds of
recording the run, of listing its days, and the statements sent; the stock storage with metadata said day by day, as
Dagster's manual has it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ONE = """
import datetime, json, os, sys, time
import dagster as dg
import sqlalchemy
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from orchestration import days, site

home, count, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
text = site.DAGSTER % json.dumps(f"{home}/history/runs")
if kind == "stock":
    text = text.replace("orchestration.event_log", "dagster._core.storage.event_log")
    text = text.replace("class: EventLog", "class: SqliteEventLogStorage")
else:
    os.environ["DAGSTER_EVENT_BATCH_SIZE"] = "1000"
open(f"{home}/dagster.yaml", "w").write(text)
first = datetime.date(1990, 1, 1)
end = first + datetime.timedelta(days=count)
daily = dg.DailyPartitionsDefinition(first.isoformat(), end_date=end.isoformat())

@dg.asset(partitions_def=daily, backfill_policy=dg.BackfillPolicy.single_run(),
          check_specs=[dg.AssetCheckSpec("is_whole", asset="made")])
def made(context):
    figures = {key: {"dagster/partition_row_count": n} for n, key in enumerate(context.partition_keys)}
    if kind == "stock":
        for key, it in figures.items():
            context.add_asset_metadata(it, partition_key=key)
    else:
        days.describe(context, figures)
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="is_whole")])

statements = [0]
def count_one(*_):
    statements[0] += 1
sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", count_one)
keys = daily.get_partition_keys()
tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
job = dg.Definitions(
    assets=[made],
    jobs=[dg.define_asset_job("fill", "*", executor_def=dg.in_process_executor)],
    loggers={"console": dg.colored_console_logger},
).resolve_job_def("fill")
quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
with dg.DagsterInstance.from_config(home) as instance:
    cpu, began = time.process_time(), time.monotonic()
    assert job.execute_in_process(instance=instance, tags=tags, run_config=quiet).success
    recorded = time.process_time() - cpu, time.monotonic() - began
    sent = statements[0]
    cpu = time.process_time()
    status = get_and_update_asset_status_cache_value(instance, dg.AssetKey("made"), daily)
    assert len(status.deserialize_materialized_partition_subsets(daily)) == count
    listed = time.process_time() - cpu
print(json.dumps({"cpu": recorded[0], "wall": recorded[1], "listed": listed, "statements": sent}))
"""


def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=12_000)
    parser.add_argument("--stock-days", type=int, default=1_000, help="days for Dagster's own; its time grows faster")
    asked = parser.parse_args()
    measured = [("watershed", days, measure("ours", days)) for days in (asked.stock_days, asked.days)]
    measured.append(("dagster", asked.stock_days, measure("stock", asked.stock_days)))
    print(f"{'event log':<12}{'days':>8}{'CPU s':>9}{'s':>9}{'list, CPU s':>13}{'statements':>12}")
    for name, days, one in measured:
        print(
            f"{name:<12}{days:>8,}{one['cpu']:>9.1f}{one['wall']:>9.1f}{one['listed']:>13.2f}{one['statements']:>12,.0f}"
        )
    at = measured[2][2]["cpu"] * asked.days / asked.stock_days
    print(f"Dagster's own for {asked.days:,} days, if its time grew only in proportion: {at:,.0f} CPU-seconds")


def measure(kind: str, days: int) -> dict[str, float]:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory() as home:
        began = time.monotonic()
        command = [sys.executable, "-W", "ignore", "-c", ONE, str(Path(home)), str(days), kind]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"{kind}, {days:,} days: {time.monotonic() - began:.0f} s", file=sys.stderr)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


if __name__ == "__main__":
    main()
