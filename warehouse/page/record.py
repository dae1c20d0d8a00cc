"""What the page says of a version that its file cannot tell: checks, freshness, quarantine, and what it changed.

It is written down once, at the publish, beside the page. So the page of a version can be written again, after a
rollback for example, when the lake has moved on and the version before is deleted.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Check:
    """One dbt test and its last verdict on the build; `model` is the table it stands at."""

    model: str
    name: str
    description: str
    status: str
    failures: int
    seconds: float
    at: str

    @property
    def is_passed(self) -> bool:
        """Whether it found nothing to say."""
        return self.status in ("pass", "success")


@dataclass(frozen=True)
class Freshness:
    """One processed table of the lake: rows, the newest `event_column`, and the last load that brought something.

    `limit_hours` is what its source file allows between two loads; None if that is not checked.
    """

    table: str
    rows: int
    event_column: str
    newest: str | None
    loaded_at: str | None
    limit_hours: int | None
    is_stale: bool


@dataclass(frozen=True)
class Held:
    """Rows and single values of one table that lie in quarantine for one reason."""

    table: str
    reason: str
    rows: int
    values: int


@dataclass(frozen=True)
class Change:
    """What a publish changed in one table; rows are None if the table is new, or gone.

    `is_compared` is false if only rows were counted. `days` and `columns` name where most of it happened.
    """

    table: str
    rows_before: int | None
    rows_after: int | None
    added: int = 0
    removed: int = 0
    changed: int = 0
    is_compared: bool = True
    notes: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether nothing changed, as far as that is known."""
        return self.rows_before == self.rows_after and not (self.added or self.removed or self.changed or self.notes)


@dataclass(frozen=True)
class Record:
    """All of it for one version, whose file is named `file`; put together at `as_of`. Instants are ISO 8601, UTC.

    `before` is the number of the version that `changes` start from; None at the first publish, or if none was kept.
    `notes` say what could not be found out, and why.
    """

    file: str
    version: int
    shop: str
    as_of: str
    before: int | None
    checks: tuple[Check, ...] = ()
    freshness: tuple[Freshness, ...] = ()
    quarantine: tuple[Held, ...] = ()
    changes: tuple[Change, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)


def save(record: Record, path: Path) -> None:
    """Write it down in one piece."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(record), indent=1))
    draft.replace(path)


def load(path: Path) -> Record | None:
    """The record at `path`; None if there is none, or one of another shape (of an older release)."""
    try:
        known = json.loads(path.read_text())
        return Record(
            **{
                **known,
                "checks": _all(Check, known["checks"]),
                "freshness": _all(Freshness, known["freshness"]),
                "quarantine": _all(Held, known["quarantine"]),
                "changes": tuple(Change(**{**one, "notes": tuple(one["notes"])}) for one in known["changes"]),
            }
        )
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _all(kind: type[Any], known: list[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple(kind(**one) for one in known)


def instant(text: str | None) -> datetime | None:
    """The instant of an ISO 8601 text, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
