r"""The backslash commands of an analyst's session, named as psql names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lake.duck import literal
from lake.errors import PermanentError, SpecError
from warehouse import catalogue, metrics_store
from warehouse.output import ENDINGS, Target

if TYPE_CHECKING:
    from warehouse.session import Session


def obey(session: Session, text: str) -> None:
    r"""Carry out one command, as `\d fct_sales`. Raises SpecError if there is no such command."""
    word, _, argument = text.strip().rstrip(";").partition(" ")
    command = COMMANDS.get(word)
    if command is None:
        raise SpecError(word, "is no command", r"\? lists them")
    command(session, argument.strip())


def _describe(session: Session, name: str) -> None:
    if not name:
        return _list(session, "*")
    found = catalogue.columns(session.connection, name)
    if found is None and session.lake_tables():
        found = catalogue.columns(session.connection, name)
    if found is not None:
        return session.show(found)
    reasons = {**(session.views.missing if session.views else {}), **session.missing}
    if reason := reasons.get(name) or reasons.get(name.partition(".")[0]):
        raise reason
    return session.say(f"There is no table {name}.")


def _list(session: Session, pattern: str) -> None:
    lake = session.lake_tables()
    found = catalogue.tables(session.connection, lake, pattern or "*")
    session.show(found) if found is not None else session.say(f"No table matches {pattern}.")


def _views(session: Session, pattern: str) -> None:
    lake = session.lake_tables()
    if reason := session.missing.get("lake"):
        raise reason
    rows = (f'select {literal(name)} as "table", {literal(shows)} as "shows"' for name, shows in lake.items())
    if not lake:
        return session.say("The lake holds no tables yet; run `make run` first.")
    return session.show(session.connection.query(" union all ".join(rows)))


def _schemas(session: Session, _: str) -> None:
    session.lake_tables()
    session.show(
        session.connection.query(
            """
            select if(database_name = 'warehouse', schema_name, database_name) as "schema", count(*) as "tables"
            from (
                select database_name, schema_name from duckdb_tables()
                union all
                select database_name, schema_name from duckdb_views() where not internal
            )
            group by all order by all"""
        )
    )


def _databases(session: Session, _: str) -> None:
    lake = session.lake_tables()
    version = session.version
    shown = f"version {version.number}, published {version.published_at:%Y-%m-%d %H:%M} UTC" if version else "none"
    store = str(session.missing.get(metrics_store.NAME, "read-only, as it is now"))
    together = str(session.missing.get(metrics_store.ALL, "the metrics store with what it has moved to the lake"))
    reason = session.missing.get("lake")
    rows = {
        "warehouse": shown,
        "lake": str(reason) if reason else f"{len(lake)} tables, as source.table",
        metrics_store.NAME: store,
        metrics_store.ALL: together,
    }
    told = (f'select {literal(name)} as "database", {literal(shows)} as "shows"' for name, shows in rows.items())
    session.show(session.connection.query(" union all ".join(told)))


def _expand(session: Session, _: str) -> None:
    session.is_expanded = not session.is_expanded
    session.say(f"Expanded display is {'on' if session.is_expanded else 'off'}.")


def _time(session: Session, _: str) -> None:
    session.is_timed = not session.is_timed
    session.say(f"Timing is {'on' if session.is_timed else 'off'}.")


def _write_to(session: Session, name: str) -> None:
    path = Path(name).expanduser() if name else None
    form = ENDINGS.get(path.suffix, session.form) if path else session.first_form
    session.turn(Target(session.target.text, path, form) if path else None)
    session.form = form


def _read(session: Session, name: str) -> None:
    from warehouse.prompt import statements

    try:
        text = Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentError(name or r"\i", f"cannot be read ({error})", "name a file with statements") from None
    for one in statements(text):
        session.answer(one)


def _help(session: Session, _: str) -> None:
    from warehouse.session import HELP

    session.say(HELP)


COMMANDS: dict[str, Callable[[Session, str], None]] = {
    r"\d": _describe,
    r"\dt": _list,
    r"\dv": _views,
    r"\dn": _schemas,
    r"\l": _databases,
    r"\x": _expand,
    r"\timing": _time,
    r"\o": _write_to,
    r"\i": _read,
    r"\?": _help,
}
