"""A change to the dbt project against its branch: only what changed is built, and what it does is told."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import Place

from lake.errors import PermanentError
from warehouse import diff_branch, publish
from warehouse.layout import PROJECT

STORE = "store_name,\n            city"


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose branch `main` holds the project as it is."""
    folder = tmp_path / "repository"
    unwanted = shutil.ignore_patterns("target", "logs", "__pycache__")
    shutil.copytree(PROJECT, folder / PROJECT.name, ignore=unwanted)
    git(tmp_path, "init", "-q", "-b", "main", str(folder))
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "as it is")
    return folder


def test_a_changed_mart_is_built_with_what_follows_from_it_and_no_other(place: Place, repository: Path, tmp_path: Path):
    project = repository / PROJECT.name
    store = project / "models/marts/dim_store.sql"
    assert STORE in store.read_text()
    store.write_text(store.read_text().replace(STORE, "upper(store_name) as store_name,\n            city"))
    change = diff_branch.against("main", tmp_path / "scratch", project=project)
    manifest = json.loads((tmp_path / "scratch/change/target/manifest.json").read_text())
    assert set(change.models) == {"dim_store"} | children(manifest, "dim_store")
    assert {it.kind for it in change.built.results} >= {"model", "test"}
    different = {it.name: it for it in change.marts if not it.is_equal}
    assert set(different) == {"dim_store"}
    assert (different["dim_store"].changed, different["dim_store"].key) == (2, ("store_key",))
    assert ("store_name", "Ginza", "GINZA") in [it for row in different["dim_store"].examples for it in row.values]


def children(manifest: dict, name: str) -> set[str]:
    """The models below a model."""
    below = manifest["child_map"][f"model.watershed.{name}"]
    models = {it.rpartition(".")[2] for it in below if it.startswith("model.")}
    return models.union(*(children(manifest, it) for it in models))


def test_a_branch_that_git_does_not_know_is_said_in_a_sentence(repository: Path, tmp_path: Path):
    with pytest.raises(PermanentError, match=r"^git, nowhere: .*; name a branch, tag or commit"):
        diff_branch.against("nowhere", tmp_path, project=repository / PROJECT.name)


def test_the_command_compares_published_versions_and_tells_what_it_cannot_find(rebuilt: Place, monkeypatch, tmp_path):
    from lake import duck
    from orchestration import site
    from watershed.cli import main

    monkeypatch.setattr(site, "enter", lambda shop: None)

    def run(*arguments: str):
        done = CliRunner().invoke(main, ["diff", *arguments])
        return done.exit_code, done.output

    assert run() == (1, f"Error: {rebuilt.layout.pointer}: no warehouse has been published yet; run `make run` first\n")
    first = publish.publish()
    assert run()[1].startswith("Error: watershed diff: there is no version before this one")
    second = publish.publish()
    code, told = run("--exit-code")
    assert code == 0
    assert f"version {first.number} (" in told
    assert "tables are equal." in told
    assert run("99")[1] == (
        f"Error: watershed diff: there is no version 99; kept are: {first.number}, {second.number}\n"
    )
    assert run("/nowhere.duckdb")[1].startswith("Error: /nowhere.duckdb: there is no such file")
    broken = tmp_path / "broken.duckdb"
    broken.write_bytes(b"no database")
    assert run(str(broken)) == (1, f"Error: {broken}: is no whole DuckDB file; name another version\n")
    assert run("http://127.0.0.1:9/w.duckdb")[1].startswith("Error: http://127.0.0.1:9/w.duckdb: cannot be read")
    with duck.connect(rebuilt.layout.build) as connection:
        connection.execute("update marts.fct_sales set net_amount = net_amount + 1 where order_id = 1")
    code, told = run("current", "build", "--format", "markdown", "--exit-code")
    assert code == 1
    assert "| fct_sales | 7 | 7 | 0 | 0 | 2 |  |" in told
    marts = json.loads(run(str(second.number), "build", "--format", "json")[1])
    assert {it["name"]: it["changed"] for it in marts if not it["is_equal"]} == {"fct_sales": 2}


def test_a_value_cannot_leave_its_cell_of_the_markdown():
    from warehouse.diff_facts import Example, MartDiff
    from warehouse.diff_report import markdown

    values = (("name", "a|b", "<img src=x>\n| `c`"),)
    mart = MartDiff("marts", "dim_x", 1, 1, key=("k",), changed=1, examples=(Example("changed", (("k", 1),), values),))
    text = markdown([mart], "It")
    assert "| 1 | name | a\\|b | &lt;img src=x> \\| \\`c\\` |" in text
