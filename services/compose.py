"""The servers of `compose.yml`, run by Docker Compose where an engine answers."""

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from services import record
from services.process import program, run

_FILE = Path(__file__).with_name("compose.yml")
_PATIENCE_S = 1200  # the first start pulls images


def is_available() -> bool:
    """Whether a Docker engine with Compose answers within seconds."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    return _succeeds(docker, "info") and _succeeds(docker, "compose", "version")


def up(home: Path, service: str) -> None:
    """Start `service` and wait until it is healthy; does nothing when it is."""
    _compose(home, "up", "--detach", "--wait", "--wait-timeout", "300", service)


def down(home: Path, service: str) -> bool:
    """Stop `service`, keep its volume; whether it was running."""
    running = _compose(home, "ps", "--quiet", "--status", "running", service).strip()
    if running:
        _compose(home, "stop", service)
    return bool(running)


def _compose(home: Path, *words: str) -> str:
    """Run `docker compose` on this home's own project; variables go by the environment, never by arguments."""
    command = [program("docker"), "compose", "--file", str(_FILE), "--project-name", _project(home)]
    mend = "run `docker compose ls` and read the containers' logs"
    return run([*command, *words], "services, Docker", mend, timeout_s=_PATIENCE_S, environment=_variables(home))


def _variables(home: Path) -> dict[str, str]:
    """What `compose.yml` asks for. All services' are always needed: Compose checks the whole file."""
    known = record.state(home)
    secret = record.folder(home) / "postgres-password"
    secret.touch(mode=0o600)
    secret.write_text(known.get("POSTGRES_PASSWORD", ""))
    return os.environ | {
        "POSTGRES_PASSWORD_FILE": str(secret),
        "POSTGRES_PORT": known.get("POSTGRES_PORT", "0"),
        "S3_PORT": known.get("S3_PORT", "0"),
        "S3_ACCESS_KEY_ID": known.get("S3_ACCESS_KEY_ID", "unset"),
        "S3_SECRET_ACCESS_KEY": known.get("S3_SECRET_ACCESS_KEY", "unset"),
        "MARIADB_PORT": known.get("MARIADB_PORT", "0"),
        "MARIADB_RIGHTS_FILE": str(record.folder(home) / "mariadb" / "rights.sql"),
    }


def _project(home: Path) -> str:
    """A random name, recorded: a home that was deleted and made anew must not meet its old volume's password."""
    if "COMPOSE_PROJECT" not in record.state(home):
        record.record_state(home, {"COMPOSE_PROJECT": f"watershed-{secrets.token_hex(4)}"})
    return record.state(home)["COMPOSE_PROJECT"]


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=8, check=False).returncode == 0  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
