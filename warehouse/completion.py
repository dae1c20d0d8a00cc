"""What could come next in a statement: tables after FROM, columns of the tables it names, functions, keywords."""

import re
from collections.abc import Callable, Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from warehouse.catalogue import Names
from warehouse.commands import COMMANDS

KEYWORDS = tuple(
    """select,from,where,group by,group by all,order by,having,qualify,limit,join,left join,full join,cross join,
    asof join,using,on,with,as,and,or,not,in,is null,is not null,between,like,ilike,case,when,then,else,end,cast,
    distinct,union all,except,intersect,exists,over,partition by,rows between,filter,desc,asc,nulls last,describe,
    summarize,explain,values,pivot,unpivot,create temp table,date,timestamp,interval,true,false,null,exclude,
    replace""".replace("\n    ", "").split(",")
)
_WORD = re.compile(r"[\w.]*$")
_AFTER = "where|join|left|right|full|inner|cross|on|using|group|order|limit|asof|natural|having|qualify|union|window"
_SOURCES = re.compile(rf'\b(?:from|join)\s+([\w."]+)(?:\s+(?:as\s+)?(?!(?:{_AFTER})\b)(\w+))?', re.I)
_WANTS_TABLE = re.compile(r"\b(from|join|describe|summarize|table)\s+$", re.I)


class Suggestions(Completer):
    """Completes by what `names` knows at that moment."""

    def __init__(self, names: Callable[[], Names]) -> None:
        self.names = names

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """What may stand where the cursor is."""
        yield from (
            Completion(word, start_position=-len(typed), display_meta=kind)
            for typed, word, kind in suggestions(document.text_before_cursor, document.text, self.names())
        )


def suggestions(before: str, text: str, names: Names) -> list[tuple[str, str, str]]:
    """What has been typed of it, the word, and what it is; for the text before the cursor and the whole of it."""
    if before.startswith("\\"):
        return _of_command(before, names)
    found = _WORD.search(before)
    typed = found[0] if found else ""
    qualifier, dot, part = typed.rpartition(".")
    statement = text[before.rfind(";") + 1 :] if ";" in before else text
    if dot:
        return _after_dot(qualifier, part, statement, names)
    head = before[: len(before) - len(typed)]
    if _WANTS_TABLE.search(head):
        return _fitting(typed, _tables(names))
    if not typed:
        return []
    kinds = [
        *((column, "column") for table in _sources(statement) for column in _columns(table, names)),
        *((word, "") for word in KEYWORDS),
        *((function, "function") for function in names.functions),
    ]
    return _fitting(typed, kinds)


def _of_command(before: str, names: Names) -> list[tuple[str, str, str]]:
    word, space, argument = before.partition(" ")
    if not space:
        return _fitting(word, ((name, "") for name in COMMANDS))
    return _fitting(argument, _tables(names)) if word in (r"\d", r"\dt") else []


def _after_dot(qualifier: str, part: str, statement: str, names: Names) -> list[tuple[str, str, str]]:
    aliases = {alias.casefold(): table for table, alias in _SOURCES.findall(statement) if alias}
    table = aliases.get(qualifier.casefold(), qualifier)
    if columns := _columns(table, names):
        return _fitting(part, ((column, "column") for column in columns))
    return _fitting(part, ((name, "table") for name in names.tables.get(qualifier, {})))


def _tables(names: Names) -> Iterator[tuple[str, str]]:
    for home, tables in names.tables.items():
        for table in tables:
            yield (table if home in ("marts", "metrics", "temp") else f"{home}.{table}"), "table"


def _sources(statement: str) -> list[str]:
    return [table for table, _ in _SOURCES.findall(statement)]


def _columns(table: str, names: Names) -> tuple[str, ...]:
    home, _, name = table.replace('"', "").casefold().rpartition(".")
    homes = [home] if home else list(names.tables)
    return next((names.tables[one][name] for one in homes if name in names.tables.get(one, {})), ())


def _fitting(typed: str, words: Iterable[tuple[str, str]]) -> list[tuple[str, str, str]]:
    start = typed.casefold()
    return [(typed, word, kind) for word, kind in dict(words).items() if word.casefold().startswith(start)]
