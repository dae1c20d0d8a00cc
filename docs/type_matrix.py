"""Write `docs/reference/types-postgres.md` from the cases that prove it; with `--check` only say whether it is right.

    python docs/type_matrix.py [--check]

What the lake holds comes from tests/behaviours/postgres_cases.py, which test_types_postgres.py proves on a real server;
what other tools make of the same columns was seen once and is kept in docs/reference/types-other-tools.yml.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "behaviours"))

from postgres_cases import GROUPS, NOTES, WORDS, Case  # noqa: E402

PAGE = PROJECT / "docs" / "reference" / "types-postgres.md"
OTHERS = PROJECT / "docs" / "reference" / "types-other-tools.yml"
TOOLS = {"duckdb": "DuckDB's scanner", "connectorx": "ConnectorX", "adbc": "ADBC", "dlt": "dlt"}
LONG = 36  # characters of a value that are shown
MOST = 3  # values that are shown in one cell


def main() -> None:
    """Write the page, or with `--check` end with 1 if it is out of date."""
    text = page()
    stale = not PAGE.exists() or PAGE.read_text() != text
    if "--check" in sys.argv[1:]:
        sys.exit(f"{PAGE.name}: out of date; run `python docs/type_matrix.py`" if stale else 0)
    PAGE.write_text(text)
    sys.stdout.write(f"Written: {PAGE.name}\n" if stale else f"{PAGE.name} is up to date.\n")


def page() -> str:
    """The whole page."""
    seen = yaml.safe_load(OTHERS.read_text())
    versions = ", ".join(f"{name} {seen['versions'][tool]}" for tool, name in TOOLS.items())
    lines = [
        "# Types: from PostgreSQL to the lake",
        "",
        "<!-- Written by docs/type_matrix.py from tests/behaviours/postgres_cases.py: change that, not this. -->",
        "",
        *WORDS["page"],
        "",
        f"What other tools made of the same columns was seen on {seen['seen_on']} with {seen['server']}: {versions}"
        f" ({'; '.join(f'{TOOLS[tool]}: {how}' for tool, how in seen['read_as'].items())}). "
        "All that was seen is in [types-other-tools.yml](types-other-tools.yml). Here stand the type and the values "
        "that arrived as others or in another form; **fails** names values with which the whole column was not read.",
    ]
    for title, cases in GROUPS.items():
        lines += ["", f"## {title}", "", *WORDS.get(title, []), *([""] if title in WORDS else [])]
        lines += declared(cases) if cases[0].declared else table(cases, seen["types"])
    return "\n".join(lines) + "\n"


def table(cases: tuple[Case, ...], seen: Mapping[str, Any]) -> Iterator[str]:
    """One row a type: what the lake holds, what does not fit, and what other tools made of it."""
    yield f"| PostgreSQL | in the lake | how | does not fit | {' | '.join(TOOLS.values())} |"
    yield "|---|---|---|---|" + "---|" * len(TOOLS)
    for case in cases:
        misfits = [value for value, shown in case.values if shown is None]
        cells = [_code(case.type), _code(str(case.arrow)), NOTES.get(case.type) or _example(case), _some(misfits)]
        others = [_other(case, seen.get(case.type, {}).get(tool)) for tool in TOOLS]
        yield f"| {' | '.join(cells + others)} |"


def declared(cases: tuple[Case, ...]) -> Iterator[str]:
    """One row a declaration."""
    yield "| PostgreSQL | declared | in the lake | fits | does not fit |"
    yield "|---|---|---|---|---|"
    for case in cases:
        fits = _some([_pair(value, shown) if value != shown else value for value, shown in case.values if shown])
        misfits = _some([value for value, shown in case.values if shown is None])
        yield f"| {_code(case.type)} | {_code(str(case.declared))} | {_code(str(case.arrow))} | {fits} | {misfits} |"


def _example(case: Case) -> str:
    """The first value that is shown in another way than it was written."""
    for value, shown in case.values:
        if shown is not None and shown != value:
            return f"{_code(value)} → {_code(shown)}"
    return ""


def _other(case: Case, seen: Mapping[str, Any] | None) -> str:
    if not seen:
        return "not tried"
    parts = [_code(seen["type"])] if "type" in seen else []
    values = seen.get("values", {})
    wanted = {_key(value): value if shown is None else shown for value, shown in case.values}
    if "opaque binary" not in str(seen.get("type", "")):
        differing = [_pair(v, s) for v, s in values.items() if not _alike(wanted.get(v, v), s)]
        parts += [_some(differing)] if differing else []
    else:
        parts.append("undecoded")
    if seen.get("parquet"):
        parts.append("cannot be written to Parquet")
    if seen.get("unreadable"):
        parts.append(f"**fails** when read: {seen['unreadable']}")
    if seen.get("fails"):
        which = "" if not values and "type" not in seen else f" on {_some(seen['fails'])}"
        parts.append(f"**fails**{which}: {_plain(seen['why'])}")
    return "; ".join(parts)


def _pair(value: str, shown: str | None) -> str:
    return f"{_cut(value) or '(empty)'} → {'NULL' if shown is None else _cut(shown) or '(empty)'}"


def _cut(text: str) -> str:
    return text if len(text) <= LONG else text[: LONG - 1] + "…"


def _key(value: str) -> str:
    return value if len(value) <= 70 else value[:69] + "…"


def _alike(wanted: str, seen: str | None) -> bool:
    """Whether two texts tell the same value, but for the way a tool shows it."""
    if seen is None:
        return False
    if seen.endswith("…"):
        return wanted.startswith(seen[:-1])
    try:
        return Decimal(wanted) == Decimal(seen) or wanted == seen or _bare(wanted) == _bare(seen)
    except InvalidOperation:
        pass
    if _same_json(wanted, seen):
        return True
    return _bare(seen).startswith(_bare(wanted)) if wanted[:4].isdigit() else _bare(wanted) == _bare(seen)


def _same_json(left: str, right: str) -> bool:
    try:
        pairs = [json.loads(text, object_pairs_hook=list, parse_float=str) for text in (left, right)]
    except ValueError:
        return False
    return bool(pairs[0] == pairs[1])


def _bare(text: str) -> str:
    """Without quotes and blanks, and with one name for infinity, as lists are shown in many ways."""
    text = text.lower().replace("infinity", "inf").replace("mons", "months").replace("-1 years", "-1 year")
    return "".join(letter for letter in text if letter not in "\"'\\ ()")


def _some(values: list[str]) -> str:
    shown = [_code(value) for value in values[:MOST]]
    return ", ".join(shown) + (f" and {len(values) - MOST} more" if len(values) > MOST else "")


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    text = text.replace("\n", "↵").replace("\t", "⇥").replace("|", "\\|")
    text = text if len(text) <= 2 * LONG + 3 else text[: 2 * LONG] + "…"
    if not text.strip():
        return "(empty)"
    return f"`` {text} ``" if "`" in text else f"`{text}`"


if __name__ == "__main__":
    main()
