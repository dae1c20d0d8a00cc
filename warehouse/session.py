r"""One person's session on the published warehouse, the lake and the metrics store: questions in, answers out.

Besides SQL it knows the backslash commands of `HELP`. A version published meanwhile is taken up with the next
statement. The lake's processed tables are there as `source.table`, the metrics store's as `metrics_store.table`; with
a time (`--as-of`) warehouse and lake are shown as they were then. What may be asked stands in `guard`.
"""

import datetime
import re
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import duckdb

from lake.access import broken_file
from lake.errors import PermanentError, PlatformError
from lake.layout import Lake
from warehouse import access, catalogue, guard, metrics_store, output, stopping
from warehouse.limits import Limits, limits
from warehouse.output import Format, Target
from warehouse.versions import Version

if TYPE_CHECKING:
    from warehouse.lake_views import Views

HELP = r"""SQL ends with ";". The lake's tables are there as source.table, the metrics store's as metrics_store.table,
with what it has moved to the lake as metrics_all.table.
\d          list the tables              \d <table>  columns of a table, with their meaning
\dt [fct_*] tables that match            \dv         tables of the lake
\dn         schemas                      \l          databases, and which version is shown
\x          one line per value, on, off  \timing     seconds of each statement, on, off
\o <file>   answers into a new file      \o          answers here again
\i <file>   statements from a file       \?          this help
\q          quit (also Ctrl-D)           Ctrl-C      stop the query, or drop the line"""
# A table of another schema than the warehouse's: what reads it is loaded before the session's doors are closed.
BESIDE = re.compile(
    r'\b(?:from|join|describe|summarize|show|table)\s+"?(?!(?:marts|metrics|warehouse|temp)\b)\w+"?\s*\.', re.I
)

PIVOT = re.compile(r"\bpivot", re.I)


class Session:
    """A connection that follows the version in force, and where its answers go.

    With `as_of` (UTC) it stays at what was in force then; `views` are the lake's tables, None until one is asked for.
    `wide`: lake and metrics store are made ready at once; otherwise when they are first asked for, if that can be.
    """

    def __init__(
        self,
        target: Target,
        form: Format = "box",
        *,
        root: Path | str | None = None,
        as_of: datetime.datetime | None = None,
        bounds: Limits | None = None,
        wide: bool = False,
        store: bool = True,
        meanwhile: bool = False,
    ) -> None:
        """`store`: whether the metrics store is among what is made ready.

        With `meanwhile`, that is done while a person types, and the first statement waits for it. Raises PermanentError
        if nothing is published, or nothing was by then and the lake held nothing either.
        """
        self.target, self.form, self.root, self.as_of = target, form, root, as_of
        self.first_form = form
        self.bounds = bounds or limits()
        self.is_expanded = self.is_timed = False
        self.views: Views | None = None
        self.lake: Lake | None = None
        self.missing: dict[str, PlatformError] = {}
        self._names: catalogue.Names | None = None
        self._store = store
        self._pivots = False
        self._preparing: threading.Thread | None = None
        self._failure: Exception | None = None
        self._standard = target
        self.version: Version | None
        self._open(wide=wide or meanwhile or as_of is not None)
        if meanwhile:
            self._preparing = threading.Thread(target=self._prepare_aside, daemon=True)
            self._preparing.start()
        else:
            self._prepare()
        if as_of is not None:
            self._add_views()
            if self.version is None and not (self.views and self.views.shown):
                self.close()
                raise _nothing_by(as_of, self.views)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(keep=error is None)

    def close(self, *, keep: bool = True) -> None:
        """End it, and put a file of answers in its place unless `keep` says otherwise."""
        if self._preparing:
            self._preparing.join()
        if self.target is not self._standard:
            self.target.close(keep=keep)
        self.connection.close()

    def _open(self, *, wide: bool) -> None:
        if self.as_of is None:
            self.connection, self.version = access.open_version(access.in_force(self.root), self.bounds)
        else:
            self.connection, self.version = access.open_at(self.as_of, self.bounds, self.root)
        self.is_wide = wide

    def _prepare(self) -> None:
        """Load what the session will need, then close its doors."""
        if self.is_wide:
            self.lake, self.missing = access.prepare(self.connection, store=self._store)
        access.lock(self.connection, self.lake, self.root)

    def _prepare_aside(self) -> None:
        try:
            self._prepare()
        except Exception as error:  # told to who waits for it
            self._failure = error

    def ready(self) -> None:
        """Wait until it is prepared; raises what went wrong: a session whose doors are open answers nothing."""
        if self._preparing:
            self._preparing.join()
            self._preparing = None
        if self._failure:
            raise self._failure

    def refresh(self) -> bool:
        """Take up the version in force; True if it is a newer one than before. Temporary tables stay."""
        self.ready()
        if self.as_of is not None or (latest := access.in_force(self.root)) == self.version:
            return False
        self.version, self.views, self._names = access.attach(self.connection, latest), None, None
        return True

    def greeting(self) -> str:
        """What is shown, in a sentence."""
        when = f"{self.version.published_at:%Y-%m-%d %H:%M} UTC" if self.version else ""
        if self.as_of is None:
            return f"Warehouse of {when}, read-only."
        warehouse = f"warehouse of {when}" if self.version else "no warehouse of then is kept"
        return f"As of {self.as_of:%Y-%m-%d %H:%M} UTC, read-only: {warehouse}, lake as source.table."

    def answer(self, text: str) -> None:
        """Write the answer to statements or to one backslash command. Raises duckdb.Error or a PlatformError."""
        self.refresh()
        if text.startswith("\\"):
            from warehouse import commands

            return commands.obey(self, text)
        began = time.monotonic()
        self._pivots = bool(PIVOT.search(text))
        for statement in guard.statements(self.connection, text):
            self._answer(statement)
        if self.is_timed:
            self.say(f"Time: {time.monotonic() - began:.3f} s")
        return None

    def _answer(self, statement: duckdb.Statement) -> None:
        try:
            return self._carry_out(statement)
        except duckdb.CatalogException as error:
            # Only now: opening the lake's tables costs more than most questions to the warehouse.
            if not self._widen():
                raise self._told(statement.query, error) from None
        try:
            return self._carry_out(statement)
        except duckdb.CatalogException as error:
            raise self._told(statement.query, error) from None

    def _carry_out(self, statement: duckdb.Statement) -> None:
        with stopping.stoppable(self.connection, self.bounds.timeout_s):
            try:
                if guard.is_question(statement):
                    self.show(self._relation(statement))
                else:  # not its text: DuckDB's own part of a PIVOT has none
                    self.connection.execute(statement)
            except duckdb.Error as error:
                raise self._named(error) from None

    def _relation(self, statement: duckdb.Statement) -> duckdb.DuckDBPyRelation:
        if not self._pivots:
            return self.connection.query(statement.query)
        # DuckDB makes two statements of a PIVOT, and cuts the text at wrong places: only the parsed ones can be asked.
        return self.connection.from_arrow(self.connection.execute(statement).to_arrow_table())

    def show(self, relation: duckdb.DuckDBPyRelation) -> None:
        """Write one answer where answers go."""
        if self.form == "box" and self.is_expanded:
            return output.expanded(relation, self.target)
        return output.write(relation, self.target, self.form)

    def say(self, text: str) -> None:
        """Write a sentence where answers go."""
        self.target.text.write(text.rstrip("\n") + "\n")

    def turn(self, target: Target | None) -> None:
        """Let answers go elsewhere from now on; None: back to where they went first."""
        if self.target is not self._standard:
            self.target.close()
        self.target = target or self._standard

    def lake_tables(self) -> dict[str, str]:
        """The lake's tables by name, with what each one shows."""
        self._widen()
        return self.views.shown if self.views else {}

    def names(self) -> catalogue.Names:
        """Names that completion offers; as they were when they were first asked for, per version."""
        if self._names is None:
            cursor = self.connection.cursor()
            self._names = catalogue.names(cursor)
            cursor.close()
        return self._names

    def known_names(self) -> catalogue.Names:
        """The same, but none yet while the session is being prepared."""
        return catalogue.Names() if self._preparing and self._preparing.is_alive() else self.names()

    def _widen(self) -> bool:
        """Add the lake's tables and the metrics store; False if they are there, or cannot be had."""
        if self.views is not None:
            return False
        if not self.is_wide:
            (temporary,) = self.connection.execute("select count(*) from duckdb_tables() where temporary").fetchall()
            if temporary[0]:
                return False  # they would be lost
            self.connection.close()
            self._store = True
            self._open(wide=True)
            self._prepare()
        return self._add_views() or metrics_store.NAME not in self.missing

    def _add_views(self) -> bool:
        from warehouse import lake_views  # Delta and Arrow, which a question to the warehouse can do without

        self.views, self._names = lake_views.Views(), None
        if self.lake:
            try:
                self.views = lake_views.add(self.connection, self.lake, self.as_of)
            except PlatformError as error:
                self.missing["lake"] = error
        return bool(self.views.shown or self.views.missing)

    def _told(self, query: str, error: duckdb.Error) -> Exception:
        """Why a table that `query` names is not there (at this time), or else the error itself."""
        reasons = {**(self.views.missing if self.views else {}), **self.missing}
        asked = query.replace('"', "").casefold()
        for name, reason in reasons.items():
            if name != "lake" and name.casefold() in asked:
                return reason
        if self.views and not self.views.shown and BESIDE.search(query):
            return reasons.get("lake") or PermanentError("lake", "holds no tables yet", "run `make run` first")
        return error

    def _named(self, error: duckdb.Error) -> Exception:
        """The sentence for a file that is missing or broken, or a server that is down; any other error as it is."""
        if metrics_store.is_its(error):
            return metrics_store.unreachable(error)
        if self.version and ("Corrupt" in str(error) or isinstance(error, duckdb.FatalException)):
            return access.broken(self.version.path, error)
        return (broken_file(self.lake, str(error)) if self.lake else None) or error


def _nothing_by(instant: datetime.datetime, views: "Views | None") -> PermanentError:
    reasons = list(views.missing.values()) if views else []
    what = "no published warehouse of then is kept, and the lake shows no table of then"
    mend = str(reasons[0]) if reasons else "choose a later time"
    return PermanentError(f"--as-of {instant:%Y-%m-%d %H:%M} UTC", what, mend)
