"""The machine's package mirrors, in both forms apt knows."""

from pathlib import Path

import pytest

from lake.errors import PermanentError
from services import apt

_KEY = """ -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
"""


def test_a_one_line_source_with_options_and_a_comment_is_read():
    line = (
        "deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://mirror.test/debian/ bookworm main contrib # ours"
    )
    assert list(apt.one_line_sources([line])) == [
        apt.Source("http://mirror.test/debian", "bookworm", ("main", "contrib"))
    ]


def test_source_packages_comments_and_blank_lines_are_no_binary_sources():
    lines = [
        "deb-src http://mirror.test/debian bookworm main",
        "# deb http://mirror.test/debian bookworm main",
        "",
        "deb",
    ]
    assert list(apt.one_line_sources(lines)) == []


def test_a_deb822_stanza_gives_one_source_for_each_uri_and_suite():
    text = (
        "Types: deb deb-src\nURIs: http://a.test/debian\n http://b.test/debian/\n"
        "Suites: bookworm bookworm-updates\nComponents: main\n"
    )
    found = {(source.uri, source.suite) for source in apt.deb822_sources(text)}
    assert found == {
        (uri, suite)
        for uri in ("http://a.test/debian", "http://b.test/debian")
        for suite in ("bookworm", "bookworm-updates")
    }


def test_disabled_stanzas_comments_and_inline_keys_do_not_disturb():
    text = (
        "# a comment\nEnabled: no\nTypes: deb\nURIs: http://off.test/debian\nSuites: x\nComponents: main\n\n"
        f"Types: deb\n# between\nURIs: http://on.test/debian\nSuites: x\nComponents: main\nSigned-By:\n{_KEY}"
    )
    assert list(apt.deb822_sources(text)) == [apt.Source("http://on.test/debian", "x", ("main",))]


def test_the_security_mirror_is_told_from_the_main_one(tmp_path: Path):
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "debian.sources").write_text(
        "Types: deb\nURIs: http://m.test/debian-security\nSuites: bookworm-security\nComponents: main\n\n"
        "Types: deb\nURIs: http://m.test/debian\nSuites: bookworm\nComponents: main\n"
    )
    assert apt.mirrors(tmp_path) == apt.Mirrors("http://m.test/debian", "http://m.test/debian-security")


def test_third_party_sources_are_not_taken_for_debian(tmp_path: Path):
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "node.list").write_text(
        "deb http://node.test/node_20.x nodistro main\ndeb http://d.test/linux/debian bookworm stable\n"
    )
    (tmp_path / "sources.list").write_text("deb http://m.test/debian bookworm main\n")
    assert apt.mirrors(tmp_path) == apt.Mirrors("http://m.test/debian", None)


def test_a_machine_without_debian_sources_is_told_so_in_one_sentence(tmp_path: Path):
    with pytest.raises(PermanentError, match="names no source of Debian packages; start Docker"):
        apt.mirrors(tmp_path)


def test_lines_for_another_release_trust_debians_keys_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keyring = tmp_path / "keys.gpg"
    keyring.touch()
    monkeypatch.setattr(apt, "mirrors", lambda: apt.Mirrors("http://m.test/debian", "http://m.test/debian-security"))
    assert apt.suite_lines("trixie", keyring) == [
        f"deb [signed-by={keyring}] http://m.test/debian trixie main",
        f"deb [signed-by={keyring}] http://m.test/debian-security trixie-security main",
    ]
