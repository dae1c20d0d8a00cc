"""Whether a load still lies in raw as it was written: its rows and checksum counted again."""

from dataclasses import dataclass
from typing import Any

from lake import checksum, commit, read
from lake.access import told
from lake.duck import literal
from lake.errors import PermanentError
from lake.intake import Subject
from lake.layout import Lake


@dataclass(frozen=True)
class Verified:
    """What was recorded of a load when it was committed, and what raw holds of it now."""

    subject: Subject
    load_id: str
    recorded: dict[str, Any]
    found: dict[str, Any]

    @property
    def is_comparable(self) -> bool:
        """Whether the checksums were made by the same algorithm; if not, only the rows are compared."""
        return str(self.recorded["checksum"]).split(":")[0] == str(self.found["checksum"]).split(":")[0]

    @property
    def difference(self) -> str | None:
        """What is wrong, in words; None if nothing is."""
        for op, name in (("i", "new"), ("u", "changed"), ("d", "deleted")):
            before, now = (int(state["rows"].get(op, 0)) for state in (self.recorded, self.found))
            if before != now:
                return f"{self.subject}, load {self.load_id}: {before:,} {name} rows were written, {now:,} are in raw"
        if self.is_comparable and self.recorded["checksum"] != self.found["checksum"]:
            return f"{self.subject}, load {self.load_id}: all rows are in raw, but values differ from what was written"
        return None


def verify(lake: Lake, subject: Subject, load_id: str) -> Verified:
    """Count a load's rows and checksum in raw again; raises PermanentError if there is none or it is unreadable."""
    raw = commit.table(lake, subject.at("raw"))
    recorded = [] if raw is None else [_of(state, load_id) for state in commit.states(raw, -1)]
    recorded = [state for state in recorded if state]
    if not recorded:
        mend = "see the loads in raw's history"
        raise PermanentError(f"lake table {subject.at('raw')}", f"no checksum of a load {load_id} is recorded", mend)
    with read.connect(lake) as connection, told(lake):
        rows = f"(SELECT * FROM {read.relation(lake, subject.at('raw'))} WHERE _load_id = {literal(load_id)})"
        found = checksum.of(connection, rows, only=recorded[-1]["columns"])
    return Verified(subject, load_id, recorded[-1], found.state())


def _of(state: dict[str, Any], load_id: str) -> dict[str, Any]:
    if state.get("load_id") == load_id and "checksum" in state:
        return state
    later: dict[str, dict[str, Any]] = state.get("recorded") or {}  # written anew when a column was widened
    return later.get(load_id, {})
