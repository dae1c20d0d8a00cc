"""Where this machine gets its Debian packages from, read from its apt configuration; no mirror is named here."""

import fcntl
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lake.errors import PermanentError
from services.process import program, run

LOCK = Path(tempfile.gettempdir()) / "watershed-apt.lock"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?:\s+(?P<components>.+))?")


@dataclass(frozen=True)
class Source:
    """One package source of the machine."""

    uri: str
    suite: str
    components: tuple[str, ...]


@dataclass(frozen=True)
class Mirrors:
    """The machine's mirrors of Debian and, where it has one, of Debian's security updates."""

    debian: str
    security: str | None


def mirrors(etc: Path = Path("/etc/apt")) -> Mirrors:
    """The Debian mirrors this machine is configured to use.

    Raises:
        PermanentError: the machine has no Debian source (another distribution, or no apt at all).
    """
    found = list(sources(etc))
    debian = [source for source in found if _is_debian(source) and not _is_security(source)]
    if not debian:
        raise PermanentError(
            "services, Debian mirror",
            f"{etc} names no source of Debian packages",
            "start Docker, or give SHOP_DSN and METRICS_DSN of a PostgreSQL server with TimescaleDB",
        )
    security = [source for source in found if _is_security(source)]
    return Mirrors(debian[0].uri, security[0].uri if security else None)


def sources(etc: Path = Path("/etc/apt")) -> Iterator[Source]:
    """Every enabled binary source in `sources.list`, `*.list` (one-line form) and `*.sources` (deb822 form)."""
    parts = etc / "sources.list.d"
    for path in (etc / "sources.list", *sorted(parts.glob("*.list"))):
        if path.is_file():
            yield from one_line_sources(path.read_text(errors="replace").splitlines())
    for path in sorted(parts.glob("*.sources")):
        yield from deb822_sources(path.read_text(errors="replace"))


def one_line_sources(lines: Iterable[str]) -> Iterator[Source]:
    """The sources in lines such as `deb [signed-by=…] URI suite component …`."""
    for line in lines:
        match = _ONE_LINE.fullmatch(line.split("#", 1)[0].strip())
        if match:
            yield Source(match["uri"].rstrip("/"), match["suite"], tuple((match["components"] or "").split()))


def deb822_sources(text: str) -> Iterator[Source]:
    """The sources in stanzas of `Key: value` lines; one for each pair of URI and suite."""
    for stanza in re.split(r"\n\s*\n", text):
        fields = _fields(stanza)
        is_on = fields.get("enabled", "yes").lower() not in ("no", "false", "without", "off", "disable")
        if not is_on or "deb" not in fields.get("types", "").split():
            continue
        components = tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri.rstrip("/"), suite, components)


def suite_lines(codename: str, keyring: Path = _KEYRING) -> list[str]:
    """Lines for the release `codename` from this machine's mirrors, trusting Debian's archive keys only."""
    if not keyring.is_file():
        raise PermanentError("services, Debian keys", f"{keyring} is missing", "install debian-archive-keyring")
    known = mirrors()
    lines = [f"deb [signed-by={keyring}] {known.debian} {codename} main"]
    if known.security:
        lines.append(f"deb [signed-by={keyring}] {known.security} {codename}-security main")
    return lines


def offers(package: str) -> bool:
    """Whether apt could install `package`, by package lists fetched now: an image's own are often empty."""
    run([*_apt_get(), "update"], "services, apt", "repair the sources in /etc/apt")
    policy = run([program("apt-cache"), "policy", package], "services, apt", "repair apt")
    return "Candidate:" in policy and "Candidate: (none)" not in policy


def install(*packages: str) -> None:
    """Install `packages` on this machine; only root may. One process at a time does: others wait."""
    mend = f"run `apt-get install {' '.join(packages)}` by hand and read what it says"
    with LOCK.open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        run([*_apt_get(), "update"], "services, apt", mend)
        run([*_apt_get(), "install", "-y", "--no-install-recommends", *packages], "services, apt", mend)


def _apt_get() -> list[str]:
    return [program("env"), "DEBIAN_FRONTEND=noninteractive", program("apt-get"), "-q"]


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    key = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():  # a continuation of the value above
            fields[key] = f"{fields.get(key, '')} {line.strip()}"
        elif ":" in line:
            name, value = line.split(":", 1)
            key = name.strip().lower()
            fields[key] = value.strip()
    return fields


def _is_security(source: Source) -> bool:
    return source.suite.endswith(("-security", "/updates")) and "debian" in urlsplit(source.uri).path


def _is_debian(source: Source) -> bool:
    """Whether the source is Debian itself and not a third party with a Debian-like layout: by its last path segment."""
    return "main" in source.components and urlsplit(source.uri).path.rstrip("/").endswith("/debian")
