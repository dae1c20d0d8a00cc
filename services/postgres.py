"""PostgreSQL with TimescaleDB on loopback: given, by Docker Compose, from the host's packages, or from a Debian tree.

The way taken first is recorded and kept: a data directory belongs to the programs that made it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from lake.errors import PermanentError
from services import compose, databases, host, record, tree
from services.cluster import Cluster

_PACKAGE = "postgresql-17-timescaledb"
_BIN = "/usr/lib/postgresql/17/bin"
_DATABASES = {"SHOP_DSN": "shop", "METRICS_DSN": "metrics"}

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Way:
    """How this home's server is run, as recorded: `compose`, `tree:<root>` or `host:<folder of programs>`."""

    kind: str
    place: str


def up(home: Path, say: Say, root: Path | None = None) -> dict[str, str]:
    """Bring the server up and answer {SHOP_DSN, METRICS_DSN}; what the environment gives is used as it is.

    `root` is a Debian tree to use (or to build) in place of `<home>/.services/root`; several homes may share one.

    Raises:
        PermanentError: no way to run a server works here, or it does not come up.
    """
    given = _given(home)
    if len(given) == len(_DATABASES):
        return given
    with record.locked(record.folder(home) / "postgres.lock"):
        _start(home, say, root)
        _prepare(home)
    return _dsns(home) | given


def down(home: Path, say: Say) -> None:
    """Stop the server `up` started; data stays."""
    with record.locked(record.folder(home) / "postgres.lock"):
        way = _recorded_way(home)
        if way is None:
            return
        stopped = compose.down(home, "postgres") if way.kind == "compose" else _cluster(home, way).stop()
        if stopped:
            say("PostgreSQL stopped")


def status(home: Path) -> str:
    """One line: how the server is run and whether it answers."""
    if len(_given(home)) == len(_DATABASES):
        return "given by SHOP_DSN and METRICS_DSN"
    way = _recorded_way(home)
    if way is None:
        return "not set up"
    known = record.state(home)
    where = f"{way.kind}, 127.0.0.1:{known.get('POSTGRES_PORT', '?')}"
    return f"{'up' if _answers(known) else 'down'} ({where})"


def database(home: Path | Mapping[str, str], name: str) -> str:
    """Create the database `name` when absent and answer its DSN (of the plain role).

    `metrics` and names that end in `_metrics` get TimescaleDB. `home` may also be a mapping with SHOP_DSN and
    METRICS_DSN: their role then creates the database and must be allowed to.
    """
    key = "METRICS_DSN" if databases.keeps_time(name) else "SHOP_DSN"
    if not isinstance(home, Path):
        return _database_by_role(home, key, name)
    given = _given(home)
    if key in given:
        return _database_by_role(given, key, name)
    known = record.state(home)
    if "POSTGRES_ADMIN_DSN" not in known:
        raise PermanentError("services, PostgreSQL", "is not set up", "run `watershed up`")
    databases.ensure_database(known["POSTGRES_ADMIN_DSN"], name, databases.ROLE)
    return databases.on(record.environment(home)[key], name)


def reader(home: Path, name: str) -> str | None:
    """The DSN of the role that may only read the metrics database `name`; None on a server that was given.

    There an administrator makes such a role, and METRICS_READER_DSN names it.
    """
    known = record.state(home)
    if "METRICS_DSN" in _given(home) or "POSTGRES_ADMIN_DSN" not in known:
        return None
    password = _secret(home, "READER_PASSWORD")
    databases.ensure_reader(known["POSTGRES_ADMIN_DSN"], password)
    return databases.dsn(databases.READER, password, int(known["POSTGRES_PORT"]), name)


def _database_by_role(environment: Mapping[str, str], key: str, name: str) -> str:
    if key not in environment:
        raise PermanentError("services, PostgreSQL", f"{key} is not set", "run `watershed up`")
    try:
        databases.ensure_database(environment[key], name)
    except psycopg.Error as error:
        what = error.diag.message_primary or "the server does not answer"
        raise PermanentError(
            f"services, database {name}", what, f"let the role of {key} create databases, or create it by hand"
        ) from error
    return databases.on(environment[key], name)


def _given(home: Path) -> dict[str, str]:
    """The DSNs that come from outside: set in the environment and not the ones we recorded ourselves."""
    ours = record.environment(home)
    return {key: os.environ[key] for key in _DATABASES if os.environ.get(key) and os.environ[key] != ours.get(key)}


def _start(home: Path, say: Say, root: Path | None) -> None:
    if _answers(record.state(home)):
        return
    way = _recorded_way(home)
    if way is None:
        way = _first_way(home, say, root)
        record.record_state(home, {"POSTGRES_WAY": f"{way.kind}:{way.place}"})
    if way.kind == "compose":
        _start_container(home, say)
    else:
        _start_cluster(home, way, say)


def _start_cluster(home: Path, way: _Way, say: Say) -> None:
    cluster = _cluster(home, way)
    if way.kind == "tree":
        tree.build(Path(way.place), [_PACKAGE], say)
        tree.Tree(Path(way.place), cluster.folder).own_folder()
    else:
        host.own(cluster.folder)
    cluster.create(_secret(home, "POSTGRES_PASSWORD"))
    if _comes_round(home, cluster):
        return
    port = record.recorded_port(home, "POSTGRES_PORT")
    say(f"starting PostgreSQL on 127.0.0.1:{port}")
    cluster.start(port)
    cluster.answer(_record_admin(home, port))


def _comes_round(home: Path, cluster: Cluster) -> bool:
    """Whether a server that is alive but deaf (it recovers, or our record of it was lost) comes to answer.

    False when there is none, or when it was on its way down.
    """
    if not cluster.adopt():
        return False
    try:
        cluster.answer(_record_admin(home, int(record.state(home)["POSTGRES_PORT"])))
    except PermanentError:
        if cluster.server.pid() is not None:
            raise
        return False
    return True


def _start_container(home: Path, say: Say) -> None:
    _secret(home, "POSTGRES_PASSWORD")
    port = record.recorded_port(home, "POSTGRES_PORT")
    say(f"starting PostgreSQL in Docker on 127.0.0.1:{port}")
    compose.up(home, "postgres")
    _record_admin(home, port)


def _record_admin(home: Path, port: int) -> str:
    admin = databases.dsn("postgres", record.state(home)["POSTGRES_PASSWORD"], port, "postgres")
    record.record_state(home, {"POSTGRES_ADMIN_DSN": admin})
    return admin


def _prepare(home: Path) -> None:
    """The role, the two databases, and what clients need in `.services/env`."""
    password, known = _secret(home, "WATERSHED_PASSWORD"), record.state(home)
    admin, port = known["POSTGRES_ADMIN_DSN"], int(known["POSTGRES_PORT"])
    dsns = {key: databases.dsn(databases.ROLE, password, port, name) for key, name in _DATABASES.items()}
    if _dsns(home) == dsns and all(_accepts(dsn) for dsn in dsns.values()):
        return
    databases.ensure_role(admin, password)
    for name in _DATABASES.values():
        databases.ensure_database(admin, name, databases.ROLE)
    record.record_environment(home, dsns)


def _secret(home: Path, key: str) -> str:
    """The recorded password `key`; made and recorded first, so that a kill later on cannot lose it."""
    if key not in record.state(home):
        record.record_state(home, {key: record.password()})
    return record.state(home)[key]


def _dsns(home: Path) -> dict[str, str]:
    recorded = record.environment(home)
    return {key: recorded[key] for key in _DATABASES if key in recorded}


def _answers(known: Mapping[str, str]) -> bool:
    return "POSTGRES_ADMIN_DSN" in known and _accepts(known["POSTGRES_ADMIN_DSN"])


def _accepts(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def _recorded_way(home: Path) -> _Way | None:
    kind, _, place = record.state(home).get("POSTGRES_WAY", "").partition(":")
    return _Way(kind, place) if kind else None


def _first_way(home: Path, say: Say, root: Path | None) -> _Way:
    folder = record.folder(home)
    if root is None and compose.is_available():
        return _Way("compose", "")
    if root is None and (programs := host.programs()) and host.is_reachable(folder / "pg"):
        return _Way("host", str(programs))
    if tree.is_possible():
        return _Way("tree", str((root or folder / "root").resolve()))
    if host.can_install() and host.is_reachable(folder / "pg"):
        say("installing PostgreSQL with TimescaleDB from this machine's Debian")
        host.install()
        return _Way("host", str(host.programs()))
    raise PermanentError(
        "services, PostgreSQL",
        "there is no Docker engine, no PostgreSQL with TimescaleDB on this machine, and the kernel forbids namespaces",
        "start Docker, or give SHOP_DSN and METRICS_DSN of a server",
    )


def _cluster(home: Path, way: _Way) -> Cluster:
    folder = record.folder(home) / "pg"
    if way.kind == "tree":
        inside = tree.Tree(Path(way.place), folder)
        return Cluster(folder, "/srv", lambda name, *words: inside.command(f"{_BIN}/{name}", *words))
    return Cluster(folder, str(folder), lambda name, *words: host.command(Path(way.place), name, *words))
