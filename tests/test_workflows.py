"""The workflows run what people run: make targets that exist, pinned actions, no secrets."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((PROJECT / ".github/workflows").glob("*.yml"))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request) -> Path:
    return request.param


def steps(workflow: Path) -> list[dict[str, str]]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def test_there_are_workflows():
    assert [path.stem for path in WORKFLOWS] == ["ci", "pull-request"]


def test_actions_are_pinned_to_a_commit_with_their_version_beside(workflow):
    uses = re.findall(r"uses: (\S+)(.*)", workflow.read_text())
    assert uses
    for action, comment in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r"  # v\d+\.\d+\.\d+", comment), action


def test_steps_are_make_targets_that_exist(workflow):
    for command in (step["run"] for step in steps(workflow) if "run" in step):
        if command.startswith("cat "):
            continue
        target = command.split(" > ")[0].split()[-1]
        assert command.startswith("make "), command
        dry = subprocess.run(["make", "-n", target], cwd=PROJECT, capture_output=True, text=True)
        assert dry.returncode == 0, dry.stderr


def test_workflows_may_only_read_and_are_given_no_secret(workflow):
    assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}
    assert "secrets." not in workflow.read_text()
    assert "pull_request_target" not in workflow.read_text()


def test_nothing_that_a_contributor_names_is_put_into_a_shell_command(workflow):
    assert all("${{" not in step.get("run", "") for step in steps(workflow))
