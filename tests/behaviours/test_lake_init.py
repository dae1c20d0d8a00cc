"""`watershed lake init` on a folder and on every S3 server: what is set, what was so, what a server does not have."""

import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fix_servers import emptied

from lake import commit, read, s3, setup
from lake.layout import Lake
from watershed.cli import main

ON_S3 = pytest.mark.parametrize("lake_root", ["ceph", "moto", "rclone"], indirect=True)
DAYS = "removed objects gone after 30 days, of the quarantine after 7, uploads never completed after 7"
FOREIGN = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "other/"}, "Expiration": {"Days": 3}}


def _said(*options: str) -> dict[str, str]:
    answer = CliRunner().invoke(main, ["lake", "init", *options])
    assert answer.exit_code == 0, answer.output
    *lines, end = answer.output.splitlines()
    assert end == ("nothing was changed" if "--dry-run" in options else f"the lake is ready at {_root()}")
    return dict(line.split(": ", 1) for line in lines)


def _root() -> str:
    from lake import layout

    return layout.from_environment().root


def test_a_folder_is_made_for_its_user_only_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "a" / "lake"
    monkeypatch.setenv("LAKE_ROOT", str(root))
    assert _said("--dry-run")[f"folder {root}"] == "would be made, for this user only"
    assert not root.exists()
    assert _said()[f"folder {root}"] == "made, for this user only"
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    root.chmod(0o750)
    assert _said()[f"folder {root}"] == "was there already, and can be written"
    assert stat.S_IMODE(root.stat().st_mode) == 0o750


@ON_S3
def test_a_bucket_that_is_missing_is_made(lake_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = Lake(lake_root).bucket + "-new"
    monkeypatch.setenv("LAKE_ROOT", f"s3://{name}/lake")
    assert _said("--dry-run") == {f"bucket {name}": "would be made, and set up"}
    assert name not in [entry["Name"] for entry in s3.client().list_buckets()["Buckets"]]
    assert _said()[f"bucket {name}"] == "made"
    emptied(s3.client(), name)


HELD = {
    "moto": {"public access blocked", "public ACLs refused", "versions kept", "encryption at rest by default", DAYS},
    "ceph": {"public access blocked", "versions kept", DAYS},
    "rclone": set(),
}


@ON_S3
def test_each_thing_is_set_once_and_what_a_server_lacks_is_said(lake_root: str, request: pytest.FixtureRequest) -> None:
    held = HELD[request.node.callspec.params["lake_root"]]
    for how, set_ in (("--dry-run", "would be set"), ("", "set"), ("", "was so already")):
        said = _said(*filter(None, [how]))
        assert said.pop(f"bucket {Lake(lake_root).bucket}") == "was there already"
        assert {thing for thing, what in said.items() if what == set_} >= held
        assert how or all(what.startswith("not had: ") for thing, what in said.items() if thing in HELD["moto"] - held)


@ON_S3
def test_a_lake_that_was_set_up_is_written_and_read(lake_root: str) -> None:
    import lone_writer

    _said()
    lake = Lake(lake_root)
    for number in range(2):
        lone_writer.append(lake, number)
    with read.connect(lake) as connection:
        found = connection.execute(f"SELECT count(*) FROM {read.relation(lake, lone_writer.TABLE)}").fetchall()
    assert found == [(2,)]
    assert commit.table(lake, lone_writer.TABLE).version() == 1


def _rules(bucket: str) -> dict[str, Any]:
    return {rule["ID"]: rule for rule in s3.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}


@pytest.mark.parametrize("lake_root", ["ceph", "moto"], indirect=True)
def test_the_rules_of_others_stay_and_none_of_ours_takes_a_live_object(lake_root: str) -> None:
    bucket = Lake(lake_root).bucket
    s3.client().put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [FOREIGN]})
    _said("--quarantine-days", "3")
    _said("--version-days", "60")
    rules = _rules(bucket)
    assert rules.pop("theirs")["Expiration"]["Days"] == 3
    assert sorted(rules) == ["watershed-quarantine-lake", "watershed-uploads-lake", "watershed-versions-lake"]
    assert rules["watershed-versions-lake"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 60
    assert rules["watershed-quarantine-lake"]["Filter"]["Prefix"] == "lake/quarantine/"
    assert not any("Days" in rule.get("Expiration", {}) for rule in rules.values())


@pytest.mark.parametrize("lake_root", ["moto"], indirect=True)
def test_a_kms_key_is_set_and_is_not_taken_back_by_the_default(lake_root: str) -> None:
    bucket = Lake(lake_root).bucket
    assert _said("--kms-key", "alias/lake")["encryption at rest by the KMS key"] == "set"
    assert _said()["encryption at rest by default"] == "was so already"
    (rule,) = s3.client().get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == "alias/lake"


def test_two_lakes_in_one_bucket_have_rules_of_their_own() -> None:
    one, other = (setup._rules(Lake(f"s3://bucket/{prefix}"), setup.Wish()) for prefix in ("a", "a/b"))
    assert not {rule["ID"] for rule in one} & {rule["ID"] for rule in other}
    assert {rule["Filter"]["Prefix"] for rule in one} == {"a/", "a/quarantine/"}
