"""A reading that is killed goes on where it was, and ends with the rows of one instant."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trial_source import Trial

from ingestion import load
from lake import commit, read
from lake.verify import verify

PROGRAM = Path(__file__).with_name("staging_run.py")


def run(trial: Trial, chunks: int = 0) -> dict[str, Any]:
    """Load in a process of its own that is killed when `chunks` are staged; what it said if it came to its end."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), trial.lake.root, json.dumps(trial.declared), str(chunks)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    if chunks:
        assert done.returncode == -9, done.stderr
        return {}
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def many(trial: Trial, rows: int = 40_000) -> None:
    """Rows of twenty days, a few hundred to a chunk."""
    trial.sql(
        "insert into orders (order_id, amount, ordered_at, customer_email)"
        " select n, n, timestamptz '2026-01-01 12:00+00' + (n % 20) * interval '1 day', 'a@b.c'"
        f" from generate_series(1, {rows}) n"
    )
    trial.sql("analyze orders")


def whole(trial: Trial) -> int:
    """How many chunks the table has."""
    return int(trial.connection.execute("select ceil(pg_relation_size('orders') / 8192.0 / 8)").fetchone()[0])  # type: ignore[index]


def test_a_killed_reading_reads_at_most_one_chunk_again(trial: Trial) -> None:
    many(trial)
    chunks = whole(trial)
    run(trial, chunks * 9 // 10)
    said = run(trial)
    assert said["chunks"] == chunks
    assert said["kept"] >= chunks * 9 // 10
    assert said["read"] <= 40_000 * (chunks - said["kept"] + 1) / chunks
    trial.assert_same()


def test_what_happened_between_the_kill_and_the_next_attempt_is_in_the_lake(trial: Trial) -> None:
    many(trial)
    run(trial, whole(trial) * 9 // 10)
    trial.sql("delete from orders where order_id % 1000 = 7")
    trial.sql("update orders set amount = -1, updated_at = updated_at where order_id % 1000 = 8")  # no cursor tells
    trial.order(50_001)
    trial.sql("vacuum orders")
    trial.sql("update orders set amount = -2 where order_id = 39_999")  # may move to a page that is staged
    assert run(trial)["kept"] > 0
    trial.assert_same()
    assert trial.rows("count(*)", where="amount = -1") == [(40,)]


def test_a_reading_that_is_killed_again_and_again_ends_right(trial: Trial) -> None:
    many(trial)
    for share in (3, 6, 9):
        run(trial, whole(trial) * share // 10)
        trial.sql(f"update orders set amount = {share} where order_id = {share}")
        trial.sql(f"delete from orders where order_id = {1000 + share}")
    run(trial)
    trial.assert_same()


def test_a_table_that_was_rewritten_meanwhile_is_read_from_the_start(trial: Trial) -> None:
    many(trial)
    run(trial, 5)
    trial.sql("delete from orders where order_id < 1000")
    trial.sql("vacuum full orders")
    assert run(trial)["kept"] == 0
    trial.assert_same()


def test_chunks_of_another_declaration_are_not_used(trial: Trial) -> None:
    many(trial)
    run(trial, 5)
    trial.declare(drop=["customer_email"])
    assert run(trial)["kept"] == 0
    assert "customer_email" not in read.columns(commit.table(trial.lake, trial.address()))


def test_an_undisturbed_and_an_interrupted_load_leave_the_same_checksum(trial: Trial, tmp_path: Path) -> None:
    many(trial)
    run(trial, whole(trial) // 2)
    run(trial)
    interrupted = commit.state(commit.table(trial.lake, trial.address("raw")))
    other = Trial(trial.connection, type(trial.lake)(str(tmp_path / "other")), trial.declared)
    run(other)
    undisturbed = commit.state(commit.table(other.lake, other.address("raw")))
    assert (interrupted["rows"], interrupted["checksum"]) == (undisturbed["rows"], undisturbed["checksum"])
    for one, state in ((trial, interrupted), (other, undisturbed)):
        assert verify(one.lake, load.subject(one.source, one.table), state["load_id"]).difference is None


@pytest.mark.parametrize("chunks", [0, 5])
def test_nothing_masked_or_dropped_ever_touches_a_disk(
    trial: Trial, chunks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, number = "somebody.in.particular@example.org", "4929-1111-2222-3333"
    trial.sql("alter table orders add card_number text")
    trial.sql(
        "insert into orders (order_id, amount, ordered_at, customer_email, card_number)"
        f" select n, n, '2026-01-05', '{secret}', '{number}' from generate_series(1, 20000) n"
    )
    trial.sql("analyze orders")
    trial.declare(mask={"customer_email": "sha256"}, drop=["card_number"])
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("WATERSHED_STAGING", str(tmp_path / "staging"))
    (tmp_path / "tmp").mkdir()
    run(trial, chunks)
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix in (".parquet", ".arrow") for path in found)
    # zstd hides texts: what Parquet files hold is asked of the lake, the others are read as bytes.
    for path in found:
        content = path.read_bytes()
        assert secret.encode() not in content, path
        assert number.encode() not in content, path
    if not chunks:
        rows = trial.rows("*", zone="raw")
        assert rows
        assert not any(value in (secret, number) for row in rows for value in row)


def test_staged_rows_are_readable_by_their_owner_only_and_gone_after_the_load(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(trial)
    monkeypatch.setenv("WATERSHED_STAGING", str(tmp_path / "staging"))
    run(trial, 5)
    folders = [path for path in (tmp_path / "staging").rglob("*") if path.is_dir()]
    assert folders
    assert all(path.stat().st_mode & 0o077 == 0 for path in [tmp_path / "staging", *folders])
    run(trial)
    assert not list((tmp_path / "staging").rglob("*.arrow"))
