"""MariaDB on loopback, as a source for tests: given by MYSQL_DSN, by Docker Compose, or from a Debian tree.

The user may make users and databases `t_…`, which tests need; it reads and writes files in one folder only.
"""

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from lake.errors import PermanentError
from services import compose, record, tree
from services.process import Server, run

Say = Callable[[str], None]

PACKAGE = "mariadb-server-core"
DATABASE = "shop"
USER = "watershed"
_KEY = "MYSQL_DSN"
_WHERE = "services, MariaDB"
_SCRIPTS = "usr/share/mariadb"
_SYSTEM = (
    "mariadb_system_tables.sql", "mariadb_performance_tables.sql", "mariadb_system_tables_data.sql",
    "maria_add_gis_sp_bootstrap.sql", "mariadb_sys_schema.sql",
)  # fmt: skip
# A small server that keeps a binary log, by which readers tell that their snapshots are the same.
_SETTINGS = (
    "--no-defaults", "--datadir=/srv/data", "--socket=/srv/socket", "--pid-file=/srv/pid", "--bind-address=127.0.0.1",
    "--character-set-server=utf8mb4", "--innodb-buffer-pool-size=256M", "--innodb-log-file-size=96M",
    "--max-connections=100", "--max-connect-errors=1000000",
    "--log-bin=/srv/data/log", "--binlog-format=ROW", "--server-id=1",
    "--expire-logs-days=1", "--max-binlog-total-size=512M", "--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2",
    "--performance-schema=OFF", "--skip-name-resolve", "--secure-file-priv=/srv/files",
)  # fmt: skip
_USER_RIGHTS = """\
CREATE DATABASE IF NOT EXISTS {database};
CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';
ALTER USER '{user}'@'%' IDENTIFIED BY '{password}';
GRANT CREATE USER, PROCESS, RELOAD, FILE, SUPER, REPLICATION CLIENT ON *.* TO '{user}'@'%' WITH GRANT OPTION;
GRANT SELECT ON mysql.* TO '{user}'@'%';
GRANT ALL ON {database}.* TO '{user}'@'%' WITH GRANT OPTION;
GRANT ALL ON `t\\_%`.* TO '{user}'@'%' WITH GRANT OPTION;
"""


def up(home: Path, say: Say, root: Path | None = None) -> dict[str, str]:
    """Bring the server up and answer {MYSQL_DSN}; one that the environment gives is used as it is.

    `root` is a Debian tree to use (or to build) in place of `<home>/.services/mariadb.root`.

    Raises:
        PermanentError: no way to run a server works here, or it does not come up.
    """
    given = _given(home)
    if given:
        return {_KEY: given}
    with record.locked(record.folder(home) / "mariadb.lock"):
        if not _is_up(home):
            _start(home, say, root)
    return {_KEY: record.environment(home)[_KEY]}


def down(home: Path, say: Say) -> None:
    """Stop the server `up` started; data stays."""
    with record.locked(record.folder(home) / "mariadb.lock"):
        kind = record.state(home).get("MARIADB_WAY", "").partition(":")[0]
        if not kind:
            return
        if compose.down(home, "mariadb") if kind == "compose" else _server(home).stop(patience_s=60):
            say("MariaDB stopped")


def status(home: Path) -> str:
    """One line: how the server is run and whether it answers."""
    if _given(home):
        return f"given by {_KEY}"
    known = record.state(home)
    if "MARIADB_WAY" not in known:
        return "not set up"
    where = f"{known['MARIADB_WAY'].partition(':')[0]}, 127.0.0.1:{known.get('MARIADB_PORT', '?')}"
    return f"{'up' if _is_up(home) else 'down'} ({where})"


def _given(home: Path) -> str:
    """What comes from outside: an address in the environment that is not the one we recorded ourselves."""
    dsn = os.environ.get(_KEY, "")
    return "" if dsn == record.environment(home).get(_KEY) else dsn


def _is_up(home: Path) -> bool:
    known = record.state(home)
    is_alive = not known.get("MARIADB_WAY", "").startswith("tree") or _server(home).pid() is not None
    return "MARIADB_PORT" in known and _KEY in record.environment(home) and is_alive and answers(known["MARIADB_PORT"])


def answers(port: str) -> bool:
    """Whether a MySQL server greets on loopback `port`: the protocol's version 10 in the fifth byte."""
    try:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=3) as connection:
            return connection.recv(5)[4:] == b"\n"
    except OSError:
        return False


def _start(home: Path, say: Say, root: Path | None) -> None:
    if "MARIADB_WAY" not in record.state(home):
        record.record_state(home, {"MARIADB_WAY": _first_way(home, root), "MARIADB_PASSWORD": record.password()})
    known = record.state(home)
    kind, _, place = known["MARIADB_WAY"].partition(":")
    if kind == "tree":
        tree.build(Path(place), [PACKAGE], say)
        _server(home).stop()  # alive but deaf
    port = record.recorded_port(home, "MARIADB_PORT")
    say(f"starting MariaDB on 127.0.0.1:{port}")
    rights = _USER_RIGHTS.format(user=USER, password=known["MARIADB_PASSWORD"], database=DATABASE)
    if kind == "compose":
        folder = record.folder(home) / "mariadb"
        folder.mkdir(mode=0o700, exist_ok=True)
        _write(folder / "rights.sql", rights, 0o644)  # the container's user reads it; here, the folder shuts it off
        compose.up(home, "mariadb")
    else:
        _run(tree.Tree(Path(place), record.folder(home) / "mariadb"), _server(home), port, rights)
    _wait(home, kind, port)
    password = quote(known["MARIADB_PASSWORD"], safe="")
    record.record_environment(home, {_KEY: f"mysql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}"})


def _first_way(home: Path, root: Path | None) -> str:
    if root is None and compose.is_available():
        return "compose:"
    if tree.is_possible():
        return f"tree:{(root or record.folder(home) / 'mariadb.root').resolve()}"
    mend = f"start Docker, or give {_KEY} of a server"
    raise PermanentError(_WHERE, "there is no Docker engine and the kernel forbids namespaces", mend)


def _run(place: tree.Tree, server: Server, port: int, rights: str) -> None:
    """Make the data directory unless it is there, and start the server on it."""
    for name in ("", "files"):
        tree.Tree(place.root, place.folder / name).own_folder()
    if not (place.folder / "data").exists():
        _make(place)
    # Run at each start, so that the password is never on a command line.
    _write(file := place.folder / "rights.sql", rights, 0o600)
    if os.geteuid() == 0:
        os.chown(file, tree.USER, tree.USER)
    server.start(place.command("/usr/sbin/mariadbd", *_SETTINGS, "--init-file=/srv/rights.sql", f"--port={port}"))


def _write(path: Path, text: str, mode: int) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)


def _make(place: tree.Tree) -> None:
    """The system tables, by the packages' own scripts; made beside and renamed, so that a kill leaves no half."""
    draft = tree.Tree(place.root, place.folder / "draft")
    shutil.rmtree(draft.folder, ignore_errors=True)
    draft.own_folder()
    tree.Tree(place.root, draft.folder / "data").own_folder()
    scripts = [(place.root / _SCRIPTS / name).read_text() for name in _SYSTEM]
    (draft.folder / "system.sql").write_text("create database mysql;\nuse mysql;\n" + "\n".join(scripts))
    (draft.folder / "system.sql").chmod(0o644)
    words = ("--no-defaults", "--bootstrap", "--datadir=/srv/data", "--log-warnings=0", "--silent-startup")
    script = 'exec /usr/sbin/mariadbd "$@" < /srv/system.sql'
    run(draft.command("/bin/sh", "-c", script, "sh", *words), _WHERE, f"look at {draft.folder}")
    (draft.folder / "data").rename(place.folder / "data")
    shutil.rmtree(draft.folder)


def _wait(home: Path, kind: str, port: int, patience_s: float = 120) -> None:
    server, deadline = _server(home), time.monotonic() + patience_s
    while not answers(str(port)):
        if (kind == "tree" and server.pid() is None) or time.monotonic() > deadline:
            words = server.last_words() if kind == "tree" else "the container is silent"
            raise PermanentError(_WHERE, f"the server does not answer: {words}", f"read {server.log}")
        time.sleep(0.03)


def _server(home: Path) -> Server:
    services = record.folder(home)
    return Server("MariaDB", services / "mariadb.pid", services / "mariadb.log")
