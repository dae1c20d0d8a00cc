"""Answers as CSV, JSON and Parquet: types survive, files are whole or not there, memory is bounded."""

import io
import json
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import small_warehouse

from warehouse import prompt

TYPES = """
    select
        12345678901234567.89::decimal(20, 2) as amount, 9007199254740993::bigint as big,
        170141183460469231731687303715884105727::hugeint as huge, 0.1::double as part, 'nan'::double as nan,
        timestamptz '2026-01-01 12:00:00.123456+02' as at, date '2026-01-01' as day, null::varchar as gone,
        'Größe „🦆“' as word, [1, null] as list, {'a': 'ü', 'b': 1.10::decimal(4, 2)} as pair, true as yes
"""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WAREHOUSE_ROOT", str(tmp_path))
    for name in ("LAKE_ROOT", "METRICS_READER_DSN"):
        monkeypatch.delenv(name, raising=False)
    small_warehouse.publish(tmp_path)
    return tmp_path


def ask(command, **options):
    out, err = io.StringIO(), io.StringIO()
    code = prompt.run(command, out=out, err=err, **options)
    return code, out.getvalue(), err.getvalue()


def as_process(root: Path, *arguments: str) -> list[str]:
    code = "import sys; from warehouse import prompt; sys.exit(prompt.run(sys.argv[1], form=sys.argv[2]))"
    return [sys.executable, "-W", "error", "-c", code, *arguments]


def test_csv_is_complete_and_plain():
    assert ask("select order_id, net_amount from fct_sales where order_id = 1 order by 2", form="csv")[1] == (
        "order_id,net_amount\n1,2.00\n1,2.50\n"
    )
    assert ask("select [1, 2] as a, {'b': null} as c, null as d", form="csv")[1] == 'a,c,d\n"[1,2]","{""b"":null}",\n'


def test_every_type_survives_in_json():
    (row,) = json.loads(ask(TYPES, form="json")[1], parse_float=Decimal)
    assert row["amount"] == Decimal("12345678901234567.89")
    assert (row["big"], row["huge"]) == (9007199254740993, 170141183460469231731687303715884105727)
    assert datetime.fromisoformat(row["at"]) == datetime(2026, 1, 1, 10, 0, 0, 123456, tzinfo=UTC)
    assert (row["day"], row["gone"], row["word"], row["yes"]) == ("2026-01-01", None, "Größe „🦆“", True)
    assert (row["list"], row["pair"]) == ([1, None], {"a": "ü", "b": Decimal("1.1")})
    assert row["nan"] is None


def test_json_of_no_rows_and_of_many_is_json():
    assert json.loads(ask("select 1 as a where false", form="json")[1]) == []
    assert len(json.loads(ask("select * from range(25000)", form="json")[1])) == 25000
    lines = ask("select * from range(25000) as t(n)", form="jsonl")[1].splitlines()
    assert [json.loads(line)["n"] for line in lines[-2:]] == [24998, 24999]


def test_every_type_survives_in_parquet(root):
    code, out, err = ask(TYPES, output=root / "types.parquet")
    assert (code, out, err) == (0, "", "")
    table = pq.read_table(root / "types.parquet")
    assert {name: str(table.schema.field(name).type) for name in ("amount", "big", "at", "day")} == {
        "amount": "decimal128(20, 2)",
        "big": "int64",
        "at": "timestamp[us, tz=UTC]",
        "day": "date32[day]",
    }
    (row,) = table.to_pylist()
    assert row["huge"] == Decimal(170141183460469231731687303715884105727)
    assert (row["gone"], row["list"], row["pair"]) == (None, [1, None], {"a": "ü", "b": Decimal("1.10")})


def test_what_parquet_cannot_hold_is_one_sentence_and_no_file(root):
    code, _, err = ask("select interval 3 day as length", output=root / "a.parquet")
    assert code == 1
    assert err.startswith("--format parquet: Parquet cannot hold a column")
    assert err.count("\n") == 1
    assert [path.name for path in root.iterdir() if "parquet" in path.name] == []


def test_a_file_is_not_overwritten_and_a_failed_answer_leaves_none(root):
    assert ask("select 1 as a", output=root / "a.csv")[0] == 0
    code, _, err = ask("select 2 as a", output=root / "a.csv")
    assert (code, err) == (1, f"{root}/a.csv: is there already; move it away, or choose another name\n")
    assert (root / "a.csv").read_text() == "a\n1\n"
    assert ask("select 1 as a; select nope", output=root / "b.csv")[0] == 1
    assert not [path for path in root.iterdir() if "b.csv" in path.name]


def test_two_answers_do_not_fit_one_parquet_file(root):
    assert "a file holds one answer" in ask("select 1; select 2", output=root / "a.parquet")[2]


def test_a_pipe_that_is_closed_early_is_no_error(root):
    process = subprocess.Popen(
        as_process(root, "select * from range(50000000)", "csv"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.read(20).startswith(b"range\n0\n1\n")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 0


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_large_answer_streams(root, form):
    """Hundreds of MB of rows are written with 400 MB for the whole process, without being held."""
    question = "select range as a, md5(range::varchar) as b from range(8000000)"
    limit = 3 * 2**30  # address space: libraries and DuckDB's buffers are mapped, not used
    process = subprocess.Popen(
        as_process(root, question, form),
        stdout=subprocess.PIPE,
        env={**os.environ, "SQL_MEMORY_LIMIT": "100MB", "SQL_SPILL_LIMIT": "1MB"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert process.stdout
    size, peak = 0, 0
    while piece := process.stdout.read(1 << 20):
        size += len(piece)
        status = Path(f"/proc/{process.pid}/status")
        if status.exists() and (found := [line for line in status.read_text().splitlines() if "VmHWM" in line]):
            peak = max(peak, int(found[0].split()[1]) // 1024)
    assert process.wait(60) == 0
    assert size > 150_000_000
    assert 0 < peak < 400
