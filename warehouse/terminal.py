"""The interactive side of the SQL prompt: history, completion, highlighting, statements over several lines."""

import os
from pathlib import Path
from typing import TextIO

import duckdb
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import ThreadedCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.output import Output
from pygments.lexers.sql import SqlLexer  # type: ignore[import-untyped]

from lake.errors import PlatformError
from warehouse.completion import Suggestions
from warehouse.layout import layout
from warehouse.prompt import sentence
from warehouse.session import Session

HISTORY = "sql_history"


def converse(session: Session, err: TextIO, *, input: Input | None = None, output: Output | None = None) -> int:
    r"""Answer statements until `\q` or Ctrl-D; returns the exit code 0. Ctrl-C drops the line or stops the query."""
    session.say(f"{session.greeting()} \\? for help.")
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
            err.write(f"A new version was published at {session.version.published_at:%H:%M:%S} UTC.\n")
        session.answer(text)
    except (PlatformError, duckdb.Error) as error:
        err.write(sentence(error) + "\n")
    except KeyboardInterrupt:
        err.write("Stopped.\n")


def history(root: Path | str | None = None) -> Path | None:
    """The file that keeps what was typed at this site, readable by this user only; None if there can be none."""
    folder = Path(os.environ.get("WATERSHED_STATE") or layout(root).root)
    path = folder / HISTORY
    try:
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError:  # somebody else's site, or one that may only be read
        return None
    return path


def _prompt(session: Session, input: Input | None, output: Output | None) -> PromptSession[str]:
    kept = history(session.root)
    return PromptSession(
        "warehouse> ",
        history=FileHistory(str(kept)) if kept else None,
        lexer=PygmentsLexer(SqlLexer),
        completer=ThreadedCompleter(Suggestions(session.known_names)),
        complete_while_typing=True,
        enable_open_in_editor=True,
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
