"""The guide to a shop of one's own, typed as it stands in a copy of the checkout: from two files to published marts."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from fix_servers import address, database

PROJECT = Path(__file__).resolve().parents[2]
GUIDE = PROJECT / "docs" / "how-to" / "bring-your-own-shop.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`([\w/.]+\.(?:csv|yml|sql))`")
PARTS = ("ingestion", "lake", "metrics", "orchestration", "services", "shop", "warehouse", "watershed", "dbt_project")
KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "DUCKDB_EXTENSIONS")
COMMAND = '#!{python}\nimport sys\nsys.path.insert(0, "{clone}")\nfrom watershed.cli import main\nmain()\n'


@dataclass
class Newcomer:
    """Somebody with a fresh checkout who does what the guide says, and what the commands answered."""

    clone: Path
    environment: dict[str, str]
    said: list[str] = field(default_factory=list)

    def follow(self, text: str) -> None:
        """Write the files that the guide shows under their names, and type its commands, in its order."""
        before = 0
        for block in BLOCK.finditer(text):
            names, before = NAMED.findall(text[before : block.start()]), block.end()
            if block[1] == "bash":
                self.type(block[2])
            elif block[1] in ("csv", "yaml", "sql"):
                self.write(names[0] if block[1] == "yaml" and "kiosk.yml" in names else names[-1], block[2])

    def write(self, name: str, text: str) -> None:
        path = self.clone / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        then = time.time() - 60  # a person has gone on reading since
        os.utime(path, (then, then))

    def type(self, commands: str) -> None:
        """Type commands into the one shell that the newcomer has: what is exported stays."""
        kept = self.clone / "kept.env"
        script = f"set -e\n{commands}\nexport -p > {kept}\n"
        before = f". {kept}\n" if kept.exists() else ""
        done = subprocess.run(
            ["bash", "-c", before + script], cwd=self.clone, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        self.said.append(done.stdout)

    def ask(self, query: str) -> list[tuple[object, ...]]:
        path = self.clone / ".data" / "kiosk" / "warehouse" / "warehouse.duckdb"
        with duckdb.connect(str(path), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            return connection.execute(query).fetchall()


def test_the_files_arrive_in_the_marts_to_the_cent(newcomer):
    columns = "count(*), count(distinct receipt), sum(amount::decimal(12, 2)), sum(pieces)"
    theirs = duckdb.sql(f"select {columns} from '{newcomer.clone}/kiosk/receipts.csv'").fetchall()
    ours = newcomer.ask(
        "select count(*), count(distinct order_id), sum(sales_amount), sum(quantity) from marts.fct_sales"
    )
    assert ours == theirs == [(5, 3, Decimal("14.10"), 6)]


def test_a_sale_after_midnight_counts_for_the_day_in_vienna_and_an_unlisted_article_is_the_unknown_one(newcomer):
    query = """
        select order_id, order_date::text, ordered_at::text, product_id, product_name, customer_id, store_name
        from marts.fct_sales join marts.dim_product using (product_key) join marts.dim_customer using (customer_key)
        join marts.dim_store using (store_key) where order_id = 'R-1003' order by line_number
    """.replace("product_id", "fct_sales.product_id").replace("customer_id", "fct_sales.customer_id")
    at = ("R-1003", "2026-03-03", "2026-03-02 23:20:00+00")
    assert newcomer.ask(query) == [
        (*at, "A3", "Tram ticket", "K7", "Kiosk"),
        (*at, "A9", "unknown product", "K7", "Kiosk"),
    ]


def test_the_calendar_is_austrias(newcomer):
    query = "select date_day::text from marts.dim_date where year_number = 2026 and month_number = 10 and is_holiday"
    assert newcomer.ask(query) == [("2026-10-26",)]


def test_the_commands_said_what_the_guide_shows(newcomer):
    added, ran, compared = newcomer.said
    (shown,) = (text for kind, text in BLOCK.findall(GUIDE.read_text()) if kind == "text")
    wanted = [line for line in shown.splitlines() if line != "..."]
    assert [line for line in wanted if line not in added.splitlines()] == []
    assert "kiosk: 2 tables can be loaded as declared" in added
    assert re.search(r"Checks: (\d+) of \1 passed", ran), ran
    assert compared.count("14.1") == 2


def test_what_was_typed_is_formatted_as_the_project_is(newcomer):
    sqlfmt = str(Path(sys.executable).with_name("sqlfmt"))
    folders = [
        str(newcomer.clone / "dbt_project" / "models" / layer / "kiosk") for layer in ("staging", "intermediate")
    ]
    done = subprocess.run(
        [sqlfmt, "--check", "--line-length", "120", "--no-progressbar", *folders], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    clone = tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        shutil.copytree(PROJECT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__", "target", "logs"))
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "workspace.yaml"):
        shutil.copy(PROJECT / name, clone / name)
    commands = clone / ".venv" / "bin"
    commands.mkdir(parents=True)
    (commands / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (commands / "watershed").write_text(COMMAND.format(python=sys.executable, clone=clone))
    for command in commands.iterdir():
        command.chmod(0o755)
    (clone / ".venv" / ".ready").touch()
    with database(address("METRICS_DSN"), timescale=True) as metrics_dsn:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        somebody = Newcomer(clone, {**kept, "METRICS_DSN": metrics_dsn, "COLUMNS": "200"})
        somebody.follow(GUIDE.read_text())
        yield somebody
