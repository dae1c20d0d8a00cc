"""Every type of both databases has the same digest at the source as in the lake, whatever the server's settings are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fix_servers
import pyarrow as pa
import pytest
import test_types_postgres as postgres_types
import trial_source
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
            session = connector(trial.source)
            shape = session.shape(trial.table)
            with read.connect(trial.lake) as _:
                facts = read.facts(trial.lake, trial.address())
            assert facts is not None
            yield Both(trial, session, shape, facts.columns)
            session.close()


@postgres_types.each_case
def test_a_type_of_postgresql_has_one_digest(postgres: Both, name: str, case: Any) -> None:
    assert postgres.session.incomparable(postgres.trial.table, postgres.shape, {name: postgres.held[name]}) == {}
    assert postgres.at_source(name) == postgres.in_lake(name)
