"""The documentation is held to the code: generated blocks, links, make targets, variables, and the page on tables."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ingestion import spec
from watershed import cli

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(
    r"""(?:environ(?:\.get|\.setdefault)?[\[(]|env_var\(|envvar=|environment\.get\()\s*["']([A-Z][A-Z0-9_]+)["']"""
)
CODE = ("lake", "ingestion", "warehouse", "metrics", "orchestration", "watershed", "shop", "dbt_project")


def name(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def run(*words: str, cwd: Path = PROJECT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})


def test_the_generated_blocks_are_as_the_code_says():
    done = run(sys.executable, "docs/generate.py", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page):
    for target in LINK.findall(prose(page)):
        path, _, anchor = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name(page)} links to {target}"
        assert not anchor or anchor in anchors(there), f"{name(page)} links to {target}"


def test_every_page_can_be_reached_from_the_readme():
    seen, waiting = set(), [PROJECT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        targets = (target.partition("#")[0] for target in LINK.findall(prose(page)))
        links = ((page.parent / target).resolve() for target in targets if target.endswith(".md"))
        waiting += [link for link in links if link not in seen and link.exists()]
    assert not set(PAGES) - seen


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_make_target_named_exists(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    code = "\n".join([*re.findall(r"`([^`\n]+)`", prose(page)), *(text for _, text in FENCE.findall(page.read_text()))])
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code))
    assert named <= targets, f"{name(page)} names {named - targets}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_of_watershed_named_exists(page):
    groups = {one: set(found.commands) for one, found in cli.main.commands.items() if isinstance(found, click.Group)}
    assert {"source", "quarantine", "warehouse"} <= groups.keys()
    code = "\n".join([*re.findall(r"`([^`\n]+)`", prose(page)), *(text for _, text in FENCE.findall(page.read_text()))])
    for command, within in re.findall(r"(?:^|[ /])watershed ([a-z]+)(?: ([a-z]+))?", code, re.MULTILINE):
        assert command in cli.main.commands, f"{name(page)} names watershed {command}"
        assert command not in groups or not within or within in groups[command], f"watershed {command} {within}"


def shown() -> list[tuple[str, str]]:
    """(name, text) of each whole source file that a page shows under its path."""
    texts = (text for page in PAGES for kind, text in FENCE.findall(page.read_text()) if kind == "yaml")
    named = ((re.match(r"# ingestion/sources/(\w+\.yml)\n", text), text) for text in texts)
    return [(match[1], text) for match, text in named if match]


@pytest.mark.parametrize(("file", "text"), shown(), ids=[file for file, _ in shown()])
def test_a_source_file_that_a_page_shows_is_a_valid_one(file, text, tmp_path):
    (tmp_path / file).write_text(text)
    assert spec.source(tmp_path / file).tables


def test_the_pages_show_source_files_of_files_and_of_functions():
    assert {"drops.yml", "weather.yml"} <= {file for file, _ in shown()}


def test_the_readme_names_the_two_commands():
    text = (PROJECT / "README.md").read_text()
    assert "make run" in text
    assert "make test" in text


def test_every_variable_that_the_code_reads_is_in_the_reference():
    read = set()
    for folder in CODE:
        for path in (path for suffix in ("py", "sql", "yml") for path in (PROJECT / folder).rglob(f"*.{suffix}")):
            read |= set(VARIABLE.findall(path.read_text()))
    assert {"LAKE_ROOT", "WATERSHED_NOW", "SCALE"} <= read
    text = (PROJECT / "docs" / "reference" / "environment.md").read_text()
    assert not {variable for variable in read if f"`{variable}`" not in text}


def test_every_decision_is_listed_and_has_its_four_parts():
    folder = PROJECT / "docs" / "decisions"
    listed = (folder / "README.md").read_text()
    for page in sorted(folder.glob("[0-9]*.md")):
        assert f"({page.name})" in listed
        for part in ("**Context.**", "**Choice.**", "**Given up.**", "**Revisit**"):
            assert part in page.read_text(), f"{page.name} lacks {part}"


def test_no_page_names_a_place_outside_of_the_repository():
    for page in PAGES:
        assert not re.search(r"\.\./shared|/work/|/root/", page.read_text()), name(page)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The repository's code and models, as if somebody had just begun to change them."""
    kept = ("ingestion", "lake", "metrics", "orchestration", "warehouse", "watershed", "dbt_project", "pyproject.toml")
    for part in kept:
        if (PROJECT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "target", "logs")
            shutil.copytree(PROJECT / part, tmp_path / "clone" / part, ignore=ignored)
        else:
            shutil.copy(PROJECT / part, tmp_path / "clone" / part)
    return tmp_path / "clone"


def follow(page: str, clone: Path) -> list[Path]:
    """Do what a how-to says about files: a block behind a file's name becomes the file, or its end if it is there."""
    text = (PROJECT / "docs" / "how-to" / page).read_text()
    touched = []
    blocks = list(re.finditer(r"^```(sql|yaml)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for before, block in zip([None, *blocks], blocks, strict=False):
        said = text[before.end() if before else 0 : block.start()]
        named = re.findall(r"`((?:dbt_project|ingestion)/\S+\.(?:sql|yml))`", said)
        if not named:
            continue
        path = clone / named[-1]
        old = path.read_text().rstrip("\n") + "\n\n" if path.exists() else ""
        path.write_text(old + block[2])
        touched.append(path)
    return touched


CHECK = """
import sys
from pathlib import Path
from ingestion import spec
from warehouse import build
from watershed import generate
generate.write()
found = build.manifest(Path(sys.argv[1]))
names = {node["name"] for node in found["nodes"].values()} | {unit["name"] for unit in found["unit_tests"].values()}
print(spec.__file__)
print(*[table.name for source in spec.sources() for table in source.tables])
print(*names)
"""


@pytest.mark.parametrize(
    ("page", "files", "tables", "nodes"),
    [
        (
            "add-a-table.md",
            5,
            {"promotions"},
            {"stg_shop__promotions", "dim_promotion", "dim_promotion_product_key_is_in_dim_product"},
        ),
        (
            "add-a-mart.md",
            3,
            {"orders"},
            {"fct_sales_weekly", "a_week_counts_an_order_of_two_lines_once_and_no_cancelled_one"},
        ),
    ],
)
def test_what_a_how_to_says_can_be_typed_as_it_stands(page, files, tables, nodes, clone, tmp_path):
    touched = follow(page, clone)
    assert len(touched) == files
    warehouse, lake = str(tmp_path / "warehouse"), str(tmp_path / "lake")
    done = run(sys.executable, "-c", CHECK, warehouse, cwd=clone, PYTHONPATH=str(clone), LAKE_ROOT=lake)
    assert done.returncode == 0, done.stderr
    spec, declared, found = done.stdout.splitlines()
    assert spec.startswith(str(clone))
    assert tables <= set(declared.split())
    assert nodes <= set(found.split())
    models = [str(path) for path in touched if path.suffix == ".sql"]
    sqlfmt = str(Path(sys.executable).with_name("sqlfmt"))
    formatted = run(sqlfmt, "--check", "--line-length", "120", "--no-progressbar", *models, cwd=clone)
    assert formatted.returncode == 0, formatted.stderr
