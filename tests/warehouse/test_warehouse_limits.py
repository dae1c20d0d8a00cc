"""What an analyst's session may not do, and what stops it: nothing published is harmed, and the session goes on."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_warehouse

from lake.errors import PlatformError, SpecError
from warehouse import prompt
from warehouse.limits import Limits, limits

COUNT = "select count(*) as lines from fct_sales"
FOREVER = "select count(*) from range(100000000) a, range(100000) b"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return small_warehouse.only(tmp_path, monkeypatch)


def ask(command=None, stdin="", **options):
    out, err = io.StringIO(), io.StringIO()
    code = prompt.run(command, stdin=io.StringIO(stdin), form="csv", out=out, err=err, **options)
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    "statement",
    [
        "drop table fct_sales",
        "create table t as select 1",
        "delete from dim_date",
        "update dim_store set store_name = 'x'",
        "insert into fct_sales select * from fct_sales",
        "alter table fct_sales drop column net_amount",
        "comment on table fct_sales is 'mine'",
        "drop schema marts cascade",
    ],
)
def test_a_change_is_refused_in_a_clear_sentence(statement, root):
    before = (root / "warehouse.duckdb").read_bytes()
    code, out, err = ask(statement)
    assert (code, out) == (1, "")
    assert err == (
        "The warehouse is read-only: published versions never change; models are changed in dbt_project/, and "
        "`create temp table` lasts for this session.\n"
    )
    assert (root / "warehouse.duckdb").read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "copy fct_sales to '{here}/x.csv'",
        "export database '{here}/x'",
        "explain analyze copy (select 1) to '{here}/published/x.csv'",
        "/* a */ explain analyze copy (select 1) to '{here}/published/x.csv'",
        "prepare p as copy (select 1) to '{here}/published/x.csv'",
        "attach '{here}/x.duckdb'",
        "install spatial",
        "load mysql_scanner",
        "set memory_limit = '100GB'",
        "pragma threads = 64",
        "reset memory_limit",
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('{here}/../x')",
        "from glob('/etc/*')",
        "from '/etc/passwd'",
        "from read_csv('http://127.0.0.1:1/x')",
        "from postgres_scan('host=127.0.0.1', 'a', 'b')",
        "from enable_logging('QueryLog', storage := 'file', storage_path := '{here}/published')",
        "call enable_logging()",
        "from query('from enable_' || 'logging()')",
        "select * from forms",
        "update extensions",
        "checkpoint",
        "begin",
    ],
)
def test_nothing_is_read_or_written_besides(statement, root):
    before = sorted(path.name for path in root.rglob("*"))
    forms = "a Python variable is no table"  # noqa: F841
    code, out, err = ask(statement.format(here=root))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert sorted(path.name for path in root.rglob("*")) == before


def test_temporary_tables_views_and_macros_are_the_analysts_own():
    code, out, err = ask(
        "create temp table t as select order_id from fct_sales; insert into t values (9); create temp view v as from t;"
        "create temp macro twice(x) as 2 * x; select max(twice(order_id)) as m from v; drop table t"
    )
    assert (code, err) == (0, "")
    assert out == "m\n18\n"


def test_a_query_that_would_eat_all_memory_ends_and_the_session_goes_on():
    from warehouse.output import Target
    from warehouse.session import Session

    out = io.StringIO()
    with Session(Target(out), "csv", bounds=Limits("100MB", 1, "1MB")) as session:
        with pytest.raises(Exception, match="Out of Memory") as caught:
            session.answer("select list(a.range::varchar || b.range) from range(100000) a, range(1000) b")
        assert prompt.sentence(caught.value).startswith("The query needs more memory, or more disk to spill to, than")
        session.answer(COUNT)
    assert out.getvalue() == "lines\n7\n"


def test_a_statement_that_takes_too_long_is_stopped_and_the_session_goes_on():
    from warehouse.output import Target
    from warehouse.session import Session

    out = io.StringIO()
    with Session(Target(out), "csv", bounds=Limits(timeout_s=0.2)) as session:
        with pytest.raises(PlatformError, match=r"took longer than 0\.2 s and was stopped"):
            session.answer(FOREVER)
        session.answer(COUNT)
    assert out.getvalue() == "lines\n7\n"


def test_the_limits_come_from_options_then_the_environment(monkeypatch):
    monkeypatch.setenv("SQL_MEMORY_LIMIT", "500MB")
    monkeypatch.setenv("SQL_THREADS", "1")
    monkeypatch.setenv("SQL_TIMEOUT_S", "60")
    assert limits() == Limits("500MB", 1, "10GB", 60)
    assert limits("1GB", 3, 5) == Limits("1GB", 3, "10GB", 5)
    out = ask("select current_setting('memory_limit') as m, current_setting('threads') as t", bounds=limits())[1]
    assert out == "m,t\n476.8 MiB,1\n"
    for name, wrong in (("SQL_MEMORY_LIMIT", "all of it"), ("SQL_THREADS", "0"), ("SQL_TIMEOUT_S", "soon")):
        with monkeypatch.context() as patch:
            patch.setenv(name, wrong)
            with pytest.raises(SpecError, match=name):
                limits()


@pytest.mark.parametrize("damage", ["header", "inside", "empty", "cut"])
def test_a_damaged_file_is_one_sentence(root, damage):
    path = (root / "warehouse.duckdb").resolve()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[:64] = os.urandom(64)
    elif damage == "inside":
        content[12288:] = os.urandom(len(content) - 12288)
    path.write_bytes(b"" if damage == "empty" else content[:13000] if damage == "cut" else content)
    code, out, err = ask(COUNT)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"{path}: the published file is damaged (")
    assert err.endswith("run `watershed warehouse rollback`, or publish anew with `make run`\n")


def test_a_file_that_another_program_writes_to_is_one_sentence(root):
    path = (root / "warehouse.duckdb").resolve()
    path.chmod(0o644)
    code = f"import duckdb; c = duckdb.connect({str(path)!r}); print('up', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == b"up\n"
        _, _, err = ask(COUNT)
    finally:
        holder.communicate(b"\n")
    assert err == (
        f"{path}: another program has locked it; end the program that has opened it for writing; published files are "
        "only ever to be read\n"
    )


class Terminal:
    """The prompt as a process at a terminal of its own."""

    def __init__(self, root: Path) -> None:
        code = "import sys; from warehouse import prompt; sys.exit(prompt.run())"
        self.leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={**os.environ, "WAREHOUSE_ROOT": str(root), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
            start_new_session=True,
        )
        os.close(follower)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.leader, text.encode())

    def until(self, pattern: str, seconds: float = 300) -> str:
        ends, start = time.monotonic() + seconds, len(self.seen)
        while time.monotonic() < ends:
            if select.select([self.leader], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.leader, 65536).decode(errors="replace")
                except OSError:
                    break
            if re.search(pattern, self.seen[start:]):
                return self.seen[start:]
        raise AssertionError(f"{pattern!r} did not come: {self.seen[start:]!r}")


def test_ctrl_c_stops_a_slow_query_and_the_session_goes_on(root):
    terminal = Terminal(root)
    try:
        terminal.until("warehouse>")
        for statement in (FOREVER, f"create temp table t as {FOREVER}"):
            before = _seconds(terminal.process.pid)
            terminal.type(f"{statement};\r")
            while _seconds(terminal.process.pid) < before + 3:  # more than drawing the line costs: the query is at work
                time.sleep(0.1)
            os.killpg(terminal.process.pid, signal.SIGINT)
            terminal.until(r"Stopped\.")
        terminal.type(f"{COUNT};\r")
        terminal.until("│     7 │")
        terminal.type("\\q\r")
        assert terminal.process.wait(30) == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.leader)


def _seconds(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
