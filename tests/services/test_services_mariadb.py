"""A real MariaDB from a Debian tree, in a home of its own."""

import os
import signal
import stat
from pathlib import Path
from typing import Any

import pymysql
import pytest
from fix_servers import mysql, mysql_database
from listeners import LOOPBACK, listeners

import services
from services import mariadb, record
from services.process import birth


@pytest.fixture
def dsn(home: Path, mariadb_tree: Path) -> str:
    return mariadb.up(home, lambda _: None, root=mariadb_tree)["MYSQL_DSN"]


def _answer(dsn: str, statement: str) -> Any:
    with mysql(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def _pid(home: Path) -> int:
    return int((home / ".services" / "mariadb.pid").read_text().split()[0])


def test_a_second_up_answers_the_same_and_starts_nothing(home: Path, dsn: str, mariadb_tree: Path):
    before, said = _pid(home), []
    assert mariadb.up(home, said.append, root=mariadb_tree) == {"MYSQL_DSN": dsn}
    assert (_pid(home), said) == (before, [])


def test_the_server_listens_on_loopback_only_and_not_as_root(home: Path, dsn: str):
    assert listeners(int(record.state(home)["MARIADB_PORT"])) == LOOPBACK
    assert Path(f"/proc/{_pid(home)}").stat().st_uid != 0 or os.geteuid() != 0


def test_the_password_is_recorded_for_its_owner_only_and_on_no_command_line(home: Path, dsn: str):
    assert services.environment(home) == {"MYSQL_DSN": dsn}
    for path in (home / ".services" / "env", home / ".services" / "mariadb" / "rights.sql"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert record.state(home)["MARIADB_PASSWORD"] not in Path(f"/proc/{_pid(home)}/cmdline").read_text()


def test_a_wrong_password_is_refused(dsn: str):
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        _answer(dsn.replace("watershed:", "watershed:x"), "select 1")


def test_the_user_may_make_and_drop_databases_and_users_of_its_own(dsn: str):
    with mysql_database(dsn) as made:
        _answer(made, "create table t (a int)")
        _answer(made, "create user t_reader identified by 'x'")
        place = made.rpartition("/")[2].replace("_", r"\_")  # a name with _ is a pattern here
        _answer(made, f"grant select on `{place}`.* to t_reader")
        _answer(made, "drop user t_reader")
    with pytest.raises(pymysql.err.OperationalError, match="denied"):
        _answer(dsn, "create database other")


@pytest.mark.parametrize("how", ["down", "kill"])
def test_rows_are_there_after_a_stop_and_after_a_kill(home: Path, dsn: str, mariadb_tree: Path, how: str):
    _answer(dsn, f"create table kept_{how} (a int)")
    _answer(dsn, f"insert into kept_{how} values (42)")
    if how == "down":
        services.down(home, lambda _: None)
        assert mariadb.status(home).startswith("down")
    else:
        pid = _pid(home)
        os.kill(pid, signal.SIGKILL)
        while birth(pid) is not None:
            pass
    assert mariadb.up(home, lambda _: None, root=mariadb_tree) == {"MYSQL_DSN": dsn}
    assert _answer(dsn, f"select a from kept_{how}") == ((42,),)


def test_a_given_server_is_used_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MYSQL_DSN", "mysql://a:b@elsewhere.test/shop")
    assert mariadb.up(tmp_path, lambda _: None) == {"MYSQL_DSN": "mysql://a:b@elsewhere.test/shop"}
    assert list(tmp_path.iterdir()) == []
