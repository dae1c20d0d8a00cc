"""The keys with which dbt reads a lake on S3: those that the platform has found, wherever they come from."""

import argparse
import os
from pathlib import Path
from typing import Any

import pytest

from warehouse import layout, runner


def _rendered(root: Path) -> Any:
    from dbt.config.profile import Profile, read_profile
    from dbt.config.renderer import ProfileRenderer
    from dbt.flags import set_from_args
    from dbt_common.context import set_invocation_context

    set_from_args(argparse.Namespace(), None)
    with runner._environment(layout.layout(root)):
        set_invocation_context(os.environ)
        raw = read_profile(str(layout.PROJECT))
        return Profile.from_raw_profiles(raw, "watershed", ProfileRenderer({})).credentials


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in a file, none in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config").write_text(
        "[profile lake]\naws_access_key_id=of-the-file\naws_secret_access_key=it's a {secret}\nregion=eu-north-1\n"
        "endpoint_url=https://s3.example.org:9000\n"
    )
    (tmp_path / "ca.pem").write_text("")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lake")


def test_dbt_gets_the_keys_of_a_profile(profile: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_ROOT", "s3://bucket/lake")
    (secret,) = _rendered(tmp_path).secrets
    assert {name: secret[name] for name in ("key_id", "secret", "region", "endpoint", "url_style")} == {
        "key_id": "of-the-file",
        "secret": "it's a {secret}",
        "region": "eu-north-1",
        "endpoint": "s3.example.org:9000",
        "url_style": "path",
    }


def test_a_lake_in_a_folder_needs_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path))
    assert not _rendered(tmp_path).secrets
