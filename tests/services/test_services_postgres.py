"""A real PostgreSQL with TimescaleDB, from a Debian tree, in a home of its own."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from listeners import LOOPBACK, listeners

import services
from lake.errors import PermanentError
from services import postgres, record


@pytest.fixture
def dsns(home: Path, postgres_tree: Path) -> dict[str, str]:
    return postgres.up(home, lambda _: None, root=postgres_tree)


def _one(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload]
        return row[0] if row else None


def _main_process(home: Path) -> int:
    return int((home / ".services" / "pg" / "data" / "postmaster.pid").read_text().split()[0])


def _kill(home: Path) -> None:
    os.kill(_main_process(home), signal.SIGKILL)


def test_a_second_up_answers_the_same_and_starts_nothing(home: Path, dsns: dict[str, str], postgres_tree: Path):
    before, said = _main_process(home), []
    assert postgres.up(home, said.append, root=postgres_tree) == dsns
    assert _main_process(home) == before
    assert said == []


def test_dsns_are_recorded_for_their_owner_only(home: Path, dsns: dict[str, str]):
    assert {key: services.environment(home)[key] for key in dsns} == dsns
    for name in ("env", "state"):
        assert stat.S_IMODE((home / ".services" / name).stat().st_mode) == 0o600


def test_the_superusers_password_is_not_among_what_clients_get(home: Path, dsns: dict[str, str]):
    assert record.state(home)["POSTGRES_PASSWORD"] not in (home / ".services" / "env").read_text()


def test_the_metrics_database_has_timescaledb_with_telemetry_off(dsns: dict[str, str]):
    assert _one(dsns["METRICS_DSN"], "select count(*) from pg_extension where extname = 'timescaledb'") == 1
    assert _one(dsns["METRICS_DSN"], "show timescaledb.license") in ("apache", "timescale")
    assert _one(dsns["METRICS_DSN"], "show timescaledb.telemetry_level") == "off"


def test_the_role_is_plain_owns_its_databases_and_may_make_hypertables(dsns: dict[str, str]):
    for dsn in dsns.values():
        assert _one(dsn, "select rolsuper from pg_roles where rolname = current_user") is False
        assert (
            _one(dsn, "select pg_get_userbyid(datdba) from pg_database where datname = current_database()")
            == "watershed"
        )
    assert _one(dsns["SHOP_DSN"], "select pg_has_role(current_user, 'pg_read_all_stats', 'member')") is True
    with psycopg.connect(dsns["METRICS_DSN"]) as connection:
        connection.execute("create table readings (read_at timestamptz not null, value double precision)")
        connection.execute("select create_hypertable('readings', by_range('read_at'))")
        connection.rollback()


def test_the_server_listens_on_loopback_only_and_not_as_root(home: Path, dsns: dict[str, str]):
    assert listeners(int(record.state(home)["POSTGRES_PORT"])) == LOOPBACK
    assert Path(f"/proc/{_main_process(home)}").stat().st_uid != 0


def test_a_wrong_password_is_refused(dsns: dict[str, str]):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsns["SHOP_DSN"], password="wrong")


def test_databases_are_made_on_demand_and_metrics_ones_get_timescaledb(home: Path, dsns: dict[str, str]):
    for _ in range(2):
        shop, metrics = services.database(home, "completejourney"), services.database(home, "completejourney_metrics")
    assert _one(shop, "select current_database()") == "completejourney"
    assert _one(shop, "select count(*) from pg_extension where extname = 'timescaledb'") == 0
    assert _one(metrics, "select count(*) from pg_extension where extname = 'timescaledb'") == 1


def test_a_database_can_be_made_from_dsns_alone(dsns: dict[str, str]):
    assert (
        _one(services.database(dsns, "from-a.mapping_metrics"), "select current_database()") == "from-a.mapping_metrics"
    )


def test_down_and_up_keep_data_and_dsns(home: Path, dsns: dict[str, str], postgres_tree: Path):
    with psycopg.connect(dsns["SHOP_DSN"]) as connection:
        connection.execute("create table if not exists kept as select 42 as answer")
    services.down(home, lambda _: None)
    assert postgres.status(home).startswith("down")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsns["SHOP_DSN"])
    assert postgres.up(home, lambda _: None, root=postgres_tree) == dsns
    assert _one(dsns["SHOP_DSN"], "select answer from kept") == 42


def test_a_killed_server_comes_up_again_with_its_data(home: Path, dsns: dict[str, str], postgres_tree: Path):
    with psycopg.connect(dsns["SHOP_DSN"]) as connection:
        connection.execute("create table if not exists committed as select 7 as answer")
    _kill(home)
    assert postgres.up(home, lambda _: None, root=postgres_tree) == dsns
    assert _one(dsns["SHOP_DSN"], "select answer from committed") == 7


def test_a_stale_pid_file_with_a_number_in_use_does_not_block(home: Path, dsns: dict[str, str], postgres_tree: Path):
    pid = _main_process(home)
    _kill(home)
    while Path(f"/proc/{pid}").exists():
        pass
    file = home / ".services" / "pg" / "data" / "postmaster.pid"
    # A process of the server's own user: PostgreSQL by itself takes it for a living server and refuses to start.
    bystander = subprocess.Popen(["sleep", "60"], user=file.stat().st_uid)
    try:
        file.write_text("\n".join([str(bystander.pid), *file.read_text().split("\n")[1:]]))
        assert postgres.up(home, lambda _: None, root=postgres_tree) == dsns
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_running_server_whose_identity_was_lost_is_taken_back(home: Path, dsns: dict[str, str], postgres_tree: Path):
    before = _main_process(home)
    (home / ".services" / "postgres.pid").unlink()
    state = home / ".services" / "state"
    state.write_text("".join(line for line in state.open() if not line.startswith("POSTGRES_ADMIN_DSN")))
    assert postgres.up(home, lambda _: None, root=postgres_tree) == dsns
    assert _main_process(home) == before


def test_given_dsns_are_used_as_they_are_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given = {"SHOP_DSN": "postgresql://a@elsewhere.test/s", "METRICS_DSN": "postgresql://a@elsewhere.test/m"}
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    assert postgres.up(tmp_path, lambda _: None) == given
    assert list(tmp_path.iterdir()) == []


def test_our_own_dsns_in_the_environment_do_not_count_as_given(
    home: Path, dsns: dict[str, str], postgres_tree: Path, monkeypatch: pytest.MonkeyPatch
):
    for key, value in dsns.items():
        monkeypatch.setenv(key, value)
    services.down(home, lambda _: None)
    assert postgres.up(home, lambda _: None, root=postgres_tree) == dsns
    assert _one(dsns["SHOP_DSN"], "select 1") == 1


def test_two_first_ups_at_once_make_one_server(tmp_path: Path, postgres_tree: Path):
    code = (
        "import sys; from pathlib import Path; from services import postgres\n"
        "print(postgres.up(Path(sys.argv[1]), lambda _: None, root=Path(sys.argv[2]))['SHOP_DSN'])"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(postgres_tree)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        answers = [starter.communicate()[0] for starter in starters]
        assert [starter.returncode for starter in starters] == [0, 0, 0]
        assert len(set(answers)) == 1
        assert _one(answers[0].strip(), "select 1") == 1
    finally:
        services.down(tmp_path, lambda _: None)


def test_a_server_that_cannot_start_says_why_in_one_sentence(tmp_path: Path, postgres_tree: Path):
    postgres.up(tmp_path, lambda _: None, root=postgres_tree)
    services.down(tmp_path, lambda _: None)
    (tmp_path / ".services" / "pg" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(PermanentError, match=r"does not answer: .*incompatible with server"):
        postgres.up(tmp_path, lambda _: None, root=postgres_tree)
