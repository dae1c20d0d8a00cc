"""Write `docs/reference/types-mysql.md` from the cases that prove it; with `--check` only say whether it is right.

    python docs/type_matrix_mysql.py [--check]

What the lake holds comes from tests/behaviours/mysql_cases.py, which test_mysql_types.py proves on a real server; what
other tools make of the same columns was seen once and is kept in docs/reference/types-other-tools-mysql.yml.
"""

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "behaviours"))

from mysql_cases import GROUPS, Case  # noqa: E402

PAGE = PROJECT / "docs" / "reference" / "types-mysql.md"
OTHERS = PROJECT / "docs" / "reference" / "types-other-tools-mysql.yml"
TOOLS = {"duckdb": "DuckDB's scanner", "connectorx": "ConnectorX"}
LONG = 36  # characters of a value that are shown
MOST = 3  # values that are shown in one cell
TOP = """# Types: from MySQL and MariaDB to the lake

<!-- Written by docs/type_matrix_mysql.py from tests/behaviours/mysql_cases.py: change that, not this. -->

Every column has one target, whatever the server's time zone, `sql_mode` and character sets are. What Parquet under a
Delta log can hold arrives as such, everything else as text, without loss. A value that does not fit its target never
stops a table and is never bent: it stands as NULL, and its text goes to [quarantine](../how-to/recover.md) with the
row's key, or the row is set aside, as the table's contract says (`types:`). So it is with dates that are none
(`0000-00-00`, `2024-02-30`), and with the year 0, which Delta's log and Python do not know. Types that are not listed
arrive as the server's own text. `columns: {name: text}` or `decimal(p, s)` in the declaration takes the place of what
stands here; a column of dates that are none, declared `text`, keeps them all.

## How a table is read

- A window that is read in one statement (a table that fits into one chunk, what changed since the last load, days, a
  table without a usable key) is streamed: one statement sees one instant.
- A table of several chunks is cut by ranges of its primary key, or of a unique one without NULLs, and read in
  transactions `WITH CONSISTENT SNAPSHOT, READ ONLY` on up to `max_connections` connections, page by page in the key's
  order. That all see the same instant is ensured in the first of these ways that works: (1) on MariaDB with a binary
  log the snapshots' positions in it are compared, and opened anew until they are equal; nothing is locked; (2) with
  the right `RELOAD` the snapshots are opened under `FLUSH TABLES WITH READ LOCK`, which is given up after a second of
  waiting for long statements; (3) otherwise one connection reads all chunks.
- `snapshot: loose` opens no snapshot: each page is as of its own time.
- The cursor goes no further than the start of the oldest transaction or statement that may yet write. Seeing those of
  others needs the right `PROCESS`; without it an hour is allowed for, and the rows of the last hour are read again
  with each load. A `datetime` cursor is taken as UTC, a `timestamp` is an instant anyhow.
- Tables of engines without transactions (MyISAM, Aria) have no snapshot; changes of transactions that are kept out of
  the binary log (`sql_log_bin = 0`) do not move its position.
- The connection is `mysql://user:password@host:port/database`, with `?ssl-mode=` `disabled`, `preferred` (TLS where the
  server offers it; the default), `required`, `verify_ca` or `verify_identity`, and `ssl-ca`, `ssl-cert`, `ssl-key`.
"""


def main() -> None:
    """Write the page, or with `--check` end with 1 if it is out of date."""
    text = page()
    stale = not PAGE.exists() or PAGE.read_text() != text
    if "--check" in sys.argv[1:]:
        sys.exit(f"{PAGE.name}: out of date; run `python docs/type_matrix_mysql.py`" if stale else 0)
    PAGE.write_text(text)
    sys.stdout.write(f"Written: {PAGE.name}\n" if stale else f"{PAGE.name} is up to date.\n")


def page() -> str:
    """The whole page."""
    seen = yaml.safe_load(OTHERS.read_text())
    tools = ", ".join(f"{name} {seen['versions'][tool]} (`{seen['read_as'][tool]}`)" for tool, name in TOOLS.items())
    lines = [
        TOP,
        f"What other tools made of the same columns was seen on {seen['seen_on']} with {seen['server']}: {tools}. All "
        "that was seen is in [types-other-tools-mysql.yml](types-other-tools-mysql.yml). Here stand the type and the "
        "values that arrived as others; **fails** names values with which the whole column was not read.",
    ]
    for title, cases in GROUPS.items():
        lines += ["", f"## {title}", "", *_table(cases, seen["types"])]
    return "\n".join(lines) + "\n"


def _table(cases: Sequence[Case], seen: Mapping[str, Any]) -> list[str]:
    others = () if cases[0].declared else tuple(TOOLS)
    head = ["type", *(() if others else ("declared",)), "in the lake", "how", "does not fit", *map(TOOLS.get, others)]
    lines = ["| " + " | ".join(map(str, head)) + " |", "|---" * len(head) + "|"]
    for case in cases:
        only = f" ({case.only} only)" if case.only else ""
        cells = [f"`{case.type}`{only}", *(() if others else (f"`{case.declared}`",)), f"`{case.arrow}`"]
        cells += [_how(case), _listed([_code(_plain(value)) for value, shown in case.values if shown is None])]
        cells += [_other(case, seen.get(case.type, {}).get(tool)) for tool in others]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _how(case: Case) -> str:
    changed = [
        f"{_code(_plain(value))} → {_code(shown)}"
        for value, shown in case.values
        if shown is not None and not _same(_plain(value), shown) and not value.startswith(("repeat(", "st_"))
    ]
    return "; ".join(filter(None, [case.note, _listed(changed)]))


def _other(case: Case, seen: Mapping[str, Any] | None) -> str:
    if seen is None:
        return ""
    ours = dict(case.values)
    changed = []
    for value, theirs in seen["values"].items():
        shown = ours.get(value, theirs)
        if value.startswith("repeat(") or (shown is not None and _same(shown, theirs)):
            continue
        changed.append(f"`{_short(_plain(value))} → {_short('NULL' if theirs is None else theirs)}`")
    kind = f"`{seen['type']}`" if seen["type"] else ""
    fails = seen.get("fails", {})
    failed = f"**fails** on {_listed([_code(_plain(value)) for value in fails])}" if fails and kind else ""
    return "; ".join(filter(None, [kind, _listed(changed), failed or ("**fails**" if fails else "")]))


def _same(one: str, other: str | None) -> bool:
    if other is None:
        return False
    try:
        return Decimal(one) == Decimal(other)
    except InvalidOperation:
        return one.removesuffix("+00") == other.removesuffix("+00")


def _plain(value: str) -> str:
    """A literal without its quotes."""
    is_text = len(value) > 1 and value[0] == value[-1] == "'"
    return value[1:-1].replace("''", "'") if is_text else value


def _listed(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - MOST} more" if len(parts) > MOST else ""
    return ", ".join(parts[:MOST]) + more


def _code(text: str) -> str:
    return f"`{_short(text)}`"


def _short(text: str) -> str:
    text = text.replace("`", "'").replace("\n", "⏎").replace("\t", "⇥") or "(empty)"
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"


if __name__ == "__main__":
    main()
