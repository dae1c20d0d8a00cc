"""Every type of both databases has the same digest at the source as in the lake, whatever the server's settings are."""

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import fix_servers
import pyarrow as pa
import pytest
import test_mysql_types as mysql_types
import test_types_postgres as postgres_types
import trial_source
from mysql_trial import mysql_trial
from trial_source import Trial

from ingestion.connectors import Connector, Shape, Window, connector
from lake import digest, read
from lake.digest import Digests
from lake.duck import quoted


@dataclass
class Both:
    """A loaded table, open at the source and in the lake."""

    trial: Trial
    session: Connector
    shape: Shape
    held: Mapping[str, pa.DataType]

    def at_source(self, *columns: str, key: tuple[str, ...] = ()) -> Digests:
        table = self.trial.table.model_copy(update={"key": key or self.trial.table.key})
        return self.session.digests(table, self.shape, Window(), self._kinds(columns))

    def in_lake(self, *columns: str, key: tuple[str, ...] = ()) -> Digests:
        with read.connect(self.trial.lake) as connection:
            relation = read.relation(self.trial.lake, self.trial.address())
            key = key or self.trial.table.key
            return digest.of(connection, relation, key=key, columns=self._kinds(columns), day=None)

    def _kinds(self, columns: tuple[str, ...]) -> dict[str, pa.DataType]:
        return {name: self.held[name] for name in columns}


@pytest.fixture(scope="module", params=["usual", "odd"])
def postgres(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """A column for every case of PostgreSQL's types, and another masked."""
    with fix_servers.database(fix_servers.address("SHOP_DSN")) as dsn, pytest.MonkeyPatch.context() as patch:
        patch.setenv(trial_source.VARIABLE, dsn)
        patch.setenv("WATERSHED_MASK_SALT", trial_source.SALT)
        root = str(tmp_path_factory.mktemp("lake"))
        declared = dict(postgres_types.DECLARATION)
        with trial_source.trial(dsn, root, schema="", **declared) as trial:
            postgres_types.fill(trial)
            for name, value in postgres_types.ODD.items() if request.param == "odd" else ():
                trial.sql(f"alter database {quoted(trial.connection.info.dbname)} set {name} = {value}")
            trial.run()
            yield from opened(trial)


@pytest.fixture(scope="module", params=["usual", "odd"])
def mysql(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """A column for every case of MySQL's types."""
    dsn = fix_servers.address("MYSQL_DSN")
    with fix_servers.mysql_database(dsn) as fresh, pytest.MonkeyPatch.context() as patch:
        patch.setenv(trial_source.VARIABLE, fresh)
        root = str(tmp_path_factory.mktemp("lake"))
        with mysql_trial(fresh, root, schema="", partition=None, columns=mysql_types.DECLARED) as trial:
            mysql_types.fill(trial)
            with mysql_types.odd_server(trial) if request.param == "odd" else nullcontext():
                trial.run()
                yield from opened(trial)


def opened(trial: Trial) -> Iterator[Both]:
    """The table at both places."""
    facts = read.facts(trial.lake, trial.address())
    assert facts is not None
    session = connector(trial.source)
    try:
        yield Both(trial, session, session.shape(trial.table), facts.columns)
    finally:
        session.close()


@mysql_types.each_case
def test_a_type_of_mysql_has_one_digest(mysql: Both, name: str, case: Any) -> None:
    mysql_types.needs(mysql.trial, case)
    left_out = mysql.session.incomparable(mysql.trial.table, mysql.shape, {name: mysql.held[name]})
    assert set(left_out) == ({name} if case.name == "varbinary(9) declared text" else set())
    if not left_out:
        assert mysql.at_source(name) == mysql.in_lake(name)


@postgres_types.each_case
def test_a_type_of_postgresql_has_one_digest(postgres: Both, name: str, case: Any) -> None:
    assert postgres.session.incomparable(postgres.trial.table, postgres.shape, {name: postgres.held[name]}) == {}
    assert postgres.at_source(name) == postgres.in_lake(name)


def test_all_types_of_postgresql_together_have_one_digest_and_key(postgres: Both) -> None:
    _assert_same_of_all(postgres)


def test_all_types_of_mysql_together_have_one_digest_and_key(mysql: Both) -> None:
    _assert_same_of_all(mysql)


def _assert_same_of_all(both: Both) -> None:
    left_out = both.session.incomparable(both.trial.table, both.shape, both.held)
    names = tuple(name for name in both.held if name in both.shape.schema.names and name not in left_out)
    assert len(names) > 60
    found, held = both.at_source(*names, key=names)[None], both.in_lake(*names, key=names)[None]
    assert json.loads(found.low or "") == json.loads(held.low or "")
    assert json.loads(found.high or "") == json.loads(held.high or "")
    assert found == held
