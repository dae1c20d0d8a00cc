"""What happens when a run fails: retries only where they can help, an alert, and no run that is waited for in vain."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from fix_site import password
from psycopg.conninfo import make_conninfo

from lake.errors import PermanentError, SourceUnavailable
from orchestration import outcome
from orchestration.burial import PID_TAG, bury_the_dead

UNREACHABLE = "postgresql://watershed:pass-me-not@127.0.0.1:1/shop"
RAW = dg.AssetKey(["raw", "shop", "stores"])


def test_a_source_that_does_not_answer_is_tried_four_times_with_growing_waits(definitions, instance, monkeypatch):
    monkeypatch.setenv("SHOP_DSN", UNREACHABLE)
    result = read_stores(definitions, instance)
    retried = [event for event in result.all_events if event.is_step_up_for_retry]
    assert [event.step_retry_data.seconds_to_wait for event in retried] == [1, 2, 4]
    assert sentence_of(result) == ("source shop: the server does not answer; start it, or correct SHOP_DSN")


def test_a_refused_password_is_not_tried_again(definitions, instance, monkeypatch, site):
    wrong = make_conninfo(site.shop_dsn, password="pass-me-not")
    monkeypatch.setenv("SHOP_DSN", wrong)
    result = read_stores(definitions, instance)
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert sentence_of(result) == ("source shop: the server refuses the user or its password; correct SHOP_DSN")


def test_nothing_that_a_failed_run_leaves_behind_holds_a_password(definitions, instance, monkeypatch, site):
    monkeypatch.setenv("SHOP_DSN", make_conninfo(site.shop_dsn, password="pass-me-not"))
    read_stores(definitions, instance)
    for path in site.home.rglob("*"):
        if path.is_file() and path.name != "mask_salt":
            content = path.read_bytes()
            assert b"pass-me-not" not in content, path
            assert password(site.shop_dsn).encode() not in content, path


def test_an_error_that_passes_after_two_tries_leaves_a_run_that_succeeded():
    tried = []

    @dg.asset
    def shaky(context: dg.AssetExecutionContext) -> None:
        with outcome.explained(context):
            tried.append(context.retry_number)
            if context.retry_number < 1:
                raise SourceUnavailable("source shop", "the server does not answer", "start it")

    assert dg.materialize([shaky]).success
    assert tried == [0, 1]


def test_a_permanent_error_ends_the_step_at_its_first_try():
    tried = []

    @dg.asset
    def broken(context: dg.AssetExecutionContext) -> None:
        with outcome.explained(context):
            tried.append(context.retry_number)
            raise PermanentError("shop.orders", "it cannot be", "mend it")

    result = dg.materialize([broken], raise_on_error=False)
    assert (result.success, tried) == (False, [0])
    assert sentence_of(result) == "shop.orders: it cannot be; mend it"


def test_a_failed_run_is_logged_and_posted_as_json(definitions, instance, monkeypatch, listener, capfd):
    monkeypatch.setenv("WATERSHED_ALERT_URL", listener.url)
    result = failed(instance)
    alert(definitions, instance, result)
    message = "shop.orders: it cannot be; mend it"
    assert f"run {result.run_id} of {result.job_def.name} failed: {message}" in capfd.readouterr().err
    (posted,) = listener.received
    assert posted == {"event": "run_failed", "job": result.job_def.name, "run_id": result.run_id, "message": message}


def test_without_an_address_a_failed_run_is_only_logged(definitions, instance, monkeypatch, listener, capfd):
    monkeypatch.delenv("WATERSHED_ALERT_URL", raising=False)
    alert(definitions, instance, failed(instance))
    assert "it cannot be; mend it" in capfd.readouterr().err
    assert listener.received == []


def test_an_address_that_is_no_web_address_is_refused_in_a_sentence(definitions, instance, monkeypatch):
    monkeypatch.setenv("WATERSHED_ALERT_URL", "file:///etc/passwd")
    with pytest.raises(Exception, match="WATERSHED_ALERT_URL: is no http"):
        alert(definitions, instance, failed(instance))


def test_runs_whose_process_was_killed_are_buried_and_living_ones_left_alone(instance):
    killed = subprocess.Popen([sys.executable, "-c", "pass"])
    killed.wait()
    dead, living = started(instance, killed.pid), started(instance, Path("/proc/self").resolve().name)
    unknown = started(instance, "")
    assert bury_the_dead(instance) == [dead]
    assert instance.get_run_by_id(dead).status == dg.DagsterRunStatus.FAILURE
    for run in (living, unknown):
        assert instance.get_run_by_id(run).status == dg.DagsterRunStatus.STARTED
        instance.delete_run(run)


def test_a_run_of_the_web_ui_is_known_by_the_process_it_said_it_was(instance):
    """Such a run has no tag of ours; Dagster's executor logs its process."""
    code = """
import os, signal
import dagster as dg
@dg.asset
def doomed(): os.kill(os.getpid(), signal.SIGKILL)
dg.materialize([doomed], instance=dg.DagsterInstance.get())
"""
    subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    (run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    assert bury_the_dead(instance) == [run.run_id]
    assert "was killed" in instance.all_logs(run.run_id)[-1].message


def test_the_burial_is_a_sensor_too_so_that_a_queue_does_not_wait(definitions, instance):
    sensor = definitions.resolve_sensor_def("bury_killed_runs")
    killed = subprocess.Popen([sys.executable, "-c", "pass"])
    killed.wait()
    run = started(instance, killed.pid)
    context = dg.build_sensor_context(instance=instance)
    assert sensor.evaluate_tick(context).skip_message == f"buried {run}"
    assert sensor.evaluate_tick(context).skip_message == "every run in progress is alive"


class Listener:
    """A web server on loopback that keeps what is posted to it."""

    def __init__(self) -> None:
        received: list[object] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.received = received
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    thread = threading.Thread(target=listener.server.serve_forever)
    thread.start()
    yield listener
    listener.server.shutdown()
    thread.join()
    listener.server.server_close()


def read_stores(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = definitions.resolve_job_def("changes")
    return job.execute_in_process(instance=instance, asset_selection=[RAW], raise_on_error=False)


def sentence_of(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return str(event.step_failure_data.user_failure_data.description)


def failed(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """A run that has failed with a sentence."""

    @dg.asset
    def broken(context: dg.AssetExecutionContext) -> None:
        with outcome.explained(context):
            raise PermanentError("shop.orders", "it cannot be", "mend it")

    return dg.materialize([broken], instance=instance, raise_on_error=False)


def alert(definitions: dg.Definitions, instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> None:
    """Let the sensor tell of a failed run."""
    (event,) = [event for event in result.all_events if event.is_run_failure]
    run = instance.get_run_by_id(result.run_id)
    context = dg.build_run_status_sensor_context("alert", event, instance, run).for_run_failure()
    definitions.resolve_sensor_def("alert")(context)


def started(instance: dg.DagsterInstance, pid: object) -> str:
    """A run that is under way in process `pid`, as its records say."""
    tags = {PID_TAG: str(pid)} if pid else {}
    return create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=tags).run_id
