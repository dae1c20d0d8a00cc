"""The interactive side of the SQL prompt: history, completion, highlighting, statements over several lines."""

from pathlib import Path
from typing import TextIO

import duckdb
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.output import Output
from pygments.lexers.sql import SqlLexer  # type: ignore[import-untyped]

from lake.errors import PlatformError
from warehouse.prompt import Session, sentence

HISTORY = ".watershed_history"
WORDS = frozenset(
    {
        "select",
        "from",
        "where",
        "group by",
        "order by",
        "having",
        "join",
        "left join",
        "using",
        "as",
        "and",
        "or",
        "not",
    }
    | {"in", "is null", "limit", "with", "union all", "distinct", "count", "sum", "avg", "min", "max", "case", "when"}
    | {"then", "else", "end", "cast", "between", "like", "desc", "describe", "summarize"}
)


def converse(session: Session, err: TextIO, *, input: Input | None = None, output: Output | None = None) -> int:
    r"""Answer statements until `\q` or Ctrl-D; returns the exit code 0. Ctrl-C drops the line or stops the query."""
    session.out.write(f"{session.greeting()} \\? for help.\n")
    prompt = _prompt(session, input, output)
    while True:
        try:
            text = prompt.prompt().strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return 0
        if text.rstrip(";").strip() in (r"\q", "exit", "quit"):
            return 0
        if text:
            _answer(session, text, err)


def _answer(session: Session, text: str, err: TextIO) -> None:
    try:
        if session.refresh() and session.version:
            session.out.write(f"A new version was published at {session.version.published_at:%H:%M:%S} UTC.\n")
        session.answer(text)
    except (PlatformError, duckdb.Error) as error:
        err.write(sentence(error) + "\n")
    except KeyboardInterrupt:
        err.write("Stopped.\n")


def _prompt(session: Session, input: Input | None, output: Output | None) -> PromptSession[str]:
    return PromptSession(
        "warehouse> ",
        history=FileHistory(str(Path.home() / HISTORY)),
        lexer=PygmentsLexer(SqlLexer),
        completer=WordCompleter(sorted({*WORDS, *session.names()}), ignore_case=True),
        complete_while_typing=True,
        multiline=True,
        prompt_continuation=lambda width, line, wrapped: "...> ".rjust(width),
        key_bindings=_enter_sends_complete_statements(),
        input=input,
        output=output,
    )


def _enter_sends_complete_statements() -> KeyBindings:
    """Enter begins a new line, unless the text is complete: it ends with ";", is a backslash command, or is empty."""
    from prompt_toolkit.application import get_app

    def is_complete() -> bool:
        text = get_app().current_buffer.text.strip()
        return not text or text.endswith(";") or text.startswith("\\") or text in ("exit", "quit")

    bindings = KeyBindings()

    @bindings.add("enter", filter=Condition(is_complete))
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return bindings
