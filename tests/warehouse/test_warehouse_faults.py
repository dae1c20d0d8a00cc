"""Builds that are killed, builds that meet, and build files that were torn."""

import re
import subprocess
import sys
import threading
import time

import pytest

from lake import duck
from lake.errors import BuildFailed, Busy
from warehouse import build, lock, publish

BUILD = """
from warehouse import build
build.run(unit_tests=False, on_progress=lambda it: print(it.name, it.status, flush=True))
"""
HOLD_LOCK = """
import sys
from warehouse import lock
from warehouse.layout import layout
with lock.held(layout().lock):
    print("held", flush=True)
    sys.stdin.read()
"""
COUNT = "select count(*) from fct_sales"
MODELS_ONLY = ["test_type:data", "test_type:unit"]


def start(code: str, *arguments: str, until: str) -> subprocess.Popen[str]:
    """A process of its own that has just said `until`."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], **pipes)
    for text in process.stdout:
        if text.strip() == until:
            return process
    raise AssertionError(f"the process ended without {until}")


def test_a_second_build_is_told_who_builds(rebuilt):
    process = start(HOLD_LOCK, until="held")
    with pytest.raises(Busy, match=rf"process {process.pid} is building or publishing .*; wait until it ends"):
        build.run()
    with pytest.raises(Busy, match=str(process.pid)):
        publish.publish()
    process.communicate("")
    publish.publish()


def test_a_lock_is_waited_for_as_long_as_one_says(rebuilt):
    def hold() -> None:
        with lock.held(rebuilt.layout.lock):
            held.set()
            time.sleep(1)

    held, thread = threading.Event(), threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert publish.publish(wait_s=30).number == 1
    thread.join()


def test_a_killed_build_proves_nothing_and_harms_nothing(rebuilt):
    before = publish.publish()
    process = start(BUILD, until="fct_sales started")
    with pytest.raises(Busy, match=str(process.pid)):
        build.run()
    process.kill()
    process.communicate()
    assert rebuilt.published(COUNT) == [(7,)]
    with pytest.raises(BuildFailed, match="not all models and tests have passed"):
        publish.publish()
    assert build.run(unit_tests=False).is_ok
    assert publish.publish().number == before.number + 1
    assert rebuilt.published(COUNT) == [(7,)]


def test_a_torn_build_file_is_replaced_by_the_last_published_one(rebuilt):
    published = publish.publish()
    rebuilt.layout.build.write_bytes(b"torn" * 5000)
    report = build.run(select=["+fct_sales"], exclude=MODELS_ONLY)
    assert re.fullmatch(rf"The build file did not open \(.*\); building upon {published.path.name}\.", report.note)
    with pytest.raises(BuildFailed, match="not all models and tests have passed"):
        publish.publish()
    with duck.connect(rebuilt.layout.build, read_only=True) as connection:
        assert connection.execute("select count(*) from marts.dim_product").fetchone() == (5,)


def test_a_torn_build_file_without_a_published_one_means_from_scratch(rebuilt):
    rebuilt.layout.build.write_bytes(b"torn" * 5000)
    report = build.run(select=["+dim_store"], exclude=MODELS_ONLY)
    assert report.note.endswith("building from scratch.")
    assert "marts.dim_product" not in build.relations()


def test_a_build_file_that_another_program_holds_open_is_said(rebuilt):
    hold = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    process = start(hold, str(rebuilt.layout.build), until="open")
    with pytest.raises(Busy, match="another process has the build file open"):
        build.run()
    process.communicate("")
