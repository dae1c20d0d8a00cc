r"""The SQL prompt on the published warehouse: interactive, one command, a file, or statements from a pipe.

What a session is and may do stands in `warehouse.session`; the look of the terminal (colours, completion, history) in
`warehouse.terminal`.
"""

import datetime
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import duckdb

from lake.errors import PermanentError, PlatformError
from warehouse.guard import READ_ONLY
from warehouse.limits import Limits, limits
from warehouse.metrics_store import ALL, NAME
from warehouse.output import ENDINGS, Format, Target
from warehouse.session import BESIDE, Session

STORE = re.compile(rf"{NAME}|{ALL}|^\s*\\", re.I | re.M)  # it is named, or listed by a command
STOPPED = 130  # the exit code of a program that Ctrl-C ended


def run(
    command: str | None = None,
    *,
    file: Path | None = None,
    form: Format | None = None,
    output: Path | None = None,
    stdin: TextIO | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
    root: Path | str | None = None,
    as_of: str | None = None,
    bounds: Limits | None = None,
) -> int:
    """Answer `command`, the statements in `file`, what is piped in, or questions at the prompt; the exit code.

    `as_of` is a time that has passed, as people write it (a day means its end, UTC): all is shown as it was then.
    A command, file or pipe ends at its first error with code 1; at the prompt an error is said and the session goes
    on. `output` is a new file, which appears when all is written; its ending tells the format if none is given.
    """
    stdin, out, err = stdin or sys.stdin, out or sys.stdout, err or sys.stderr
    try:
        instant = _past(as_of) if as_of else None
        form = form or _form_of(output)
        text = _text(command, file, stdin)
        bounds = bounds or limits()
        with Target(out, output, form) as target:
            if text is None:
                with Session(target, form, root=root, as_of=instant, bounds=bounds, meanwhile=True) as session:
                    from warehouse import terminal

                    return terminal.converse(session, err)
            wide, store = bool(BESIDE.search(text)), bool(STORE.search(text))
            with Session(target, form, root=root, as_of=instant, bounds=bounds, wide=wide, store=store) as session:
                _answer_all(session, text)
    except (PlatformError, duckdb.Error) as error:
        err.write(sentence(error) + "\n")
        return 1
    except KeyboardInterrupt:
        err.write("Stopped.\n")
        return STOPPED
    except BrokenPipeError:  # the reader of the pipe, `head` for example, has seen enough
        _let_go(out)
    return 0


def statements(text: str) -> Iterator[str]:
    """Backslash commands stand on a line of their own; everything between them is SQL."""
    sql: list[str] = []
    for line in [*text.splitlines(), "\\"]:
        if not line.lstrip().startswith("\\"):
            sql.append(line)
            continue
        if any(part.strip() for part in sql):
            yield "\n".join(sql)
        sql = []
        if line.strip() != "\\":
            yield line.strip()


def sentence(error: Exception) -> str:
    """An error as one sentence for a person."""
    if isinstance(error, PlatformError):
        return str(error)
    text = str(error)
    if "read-only mode" in text:
        return READ_ONLY
    for pattern, told in SENTENCES:
        if re.search(pattern, text):
            return told
    head = re.split(r"\n\s*\nLINE |\nLINE ", text)[0]
    return " ".join(line.strip() for line in head.splitlines() if line.strip())


SENTENCES = (
    (
        r"^Out of Memory Error",
        "The query needs more memory, or more disk to spill to, than a session may use; narrow it (fewer columns, a "
        "filter, a coarser grouping), or give more with --memory-limit, SQL_MEMORY_LIMIT and SQL_SPILL_LIMIT.",
    ),
    (
        r"Cannot access (file|directory)|operations are disabled by configuration|disabled through configuration",
        "A session reads the warehouse, the lake and the metrics store, no other file or server; in Python, "
        "watershed.connect() does.",
    ),
    (
        r"the configuration has been locked",
        "A session's settings are fixed when it begins; see `watershed sql --help`, or use watershed.connect().",
    ),
    (r"^(INTERRUPT Error|Interrupted)", "Stopped."),
)


def _answer_all(session: Session, text: str) -> None:
    for one in statements(text):
        if one.startswith(r"\q"):
            break
        session.answer(one)


def _text(command: str | None, file: Path | None, stdin: TextIO) -> str | None:
    """What is asked; None if a person will type."""
    if command is not None:
        return command
    if file is None:
        return None if stdin.isatty() else stdin.read()
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no text in UTF-8"
        raise PermanentError(str(file), reason, "name a file with statements") from None


def _form_of(output: Path | None) -> Format:
    return ENDINGS.get(output.suffix, "box") if output else "box"


def _past(text: str) -> datetime.datetime:
    from lake import instant

    return instant.past(text, datetime.datetime.now(datetime.UTC))


def _let_go(out: TextIO) -> None:
    """Keep Python from writing to a closed pipe once more at its end."""
    if out is sys.stdout:
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
