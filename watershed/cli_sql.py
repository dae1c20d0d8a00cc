"""The command `watershed sql`."""

import sys
from pathlib import Path

import click

from watershed.commands import shop_option

FORMATS = ("box", "csv", "json", "jsonl", "parquet")


@click.command()
@shop_option
@click.option("-c", "--command", help="Run these statements and leave.")
@click.option("-f", "--file", type=click.Path(path_type=Path), help="Run the statements of a file and leave.")
@click.option("--as-of", metavar="TIME", help="All as it was: 2026-11-20 (its end, UTC) or 2026-11-20T12:00Z.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="How answers look; box, or as FILE's ending says.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write answers to a new file.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Stop a statement that takes longer (SQL_TIMEOUT_S).")
@click.option("--memory-limit", metavar="SIZE", help="Memory of the session (SQL_MEMORY_LIMIT, 2GB).")
@click.option("--threads", type=int, help="Threads of the session (SQL_THREADS, 2).")
def sql(
    shop: str,
    command: str | None,
    file: Path | None,
    as_of: str | None,
    form: str | None,
    output: Path | None,
    timeout: float | None,
    memory_limit: str | None,
    threads: int | None,
) -> None:
    """Query the published warehouse, the lake (source.table) and the metrics store (metrics_store.table), read-only.

    Without -c, -f or a pipe it is a prompt with completion and history. Usable while a run is going on.
    """
    if command is not None and file is not None:
        raise click.UsageError("give --command or --file, not both")
    from orchestration import site
    from warehouse import prompt
    from warehouse.limits import limits

    site.enter(shop)
    bounds = limits(memory_limit, threads, timeout)
    sys.exit(prompt.run(command, file=file, form=form, output=output, as_of=as_of, bounds=bounds))  # type: ignore[arg-type]
