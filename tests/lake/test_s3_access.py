"""Keys, endpoint, region and trust by the usual AWS chain, the same for all four who speak to S3; and what is wrong."""

import datetime
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import botocore.auth
import pyarrow as pa
import pytest
from fix_servers import S3_NAMES, bucket_on, free_port, program, s3_server

from lake import access, commit, duck, inventory, objects, read, s3
from lake.errors import AccessDenied, LakeUnavailable
from lake.layout import Address, Lake

TABLE = Address("raw", "shop", "orders")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable, file or role of the machine is found by chance."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(s3, "REGION", "us-east-1")
    for name in (*S3_NAMES, "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


def _used_by_all(lake: Lake) -> None:
    """Write by Arrow and Delta, read by DuckDB, list by Arrow, remove by boto3."""
    rows = pa.table({"number": [1, 2]}).to_reader()
    commit.append(lake, TABLE, rows, {}, base=commit.table(lake, TABLE), by_day=False)
    with read.connect(lake) as connection:
        assert connection.execute(f"SELECT count(*) FROM {read.relation(lake, TABLE)}").fetchall() == [(2,)]
    files = [f"{TABLE}/{one.path}" for one in inventory.below(lake, str(TABLE))]
    inventory.remove(lake, files)
    assert not list(inventory.below(lake, str(TABLE)))


def _files(folder: Path, server: dict[str, str], profile: str = "") -> None:
    """The AWS files of a person: keys in one, endpoint and region in the other."""
    aws = folder / ".aws"
    aws.mkdir()
    keys = f"aws_access_key_id={server[KEYS[0]]}\naws_secret_access_key={server[KEYS[1]]}\n"
    (aws / "credentials").write_text(f"[{profile or 'default'}]\n{keys}")
    place = f"region=us-east-1\nservices=own\n[services own]\ns3 =\n  endpoint_url={server['AWS_ENDPOINT_URL']}\n"
    (aws / "config").write_text(f"[{f'profile {profile}' if profile else 'default'}]\n{place}")


# Where keys come from


def test_keys_in_the_environment_are_taken_without_loading_the_aws_library() -> None:
    code = (
        "import os, sys; os.environ.update(AWS_ACCESS_KEY_ID='a', AWS_SECRET_ACCESS_KEY='b')\n"
        "from lake.layout import Lake; from lake import commit\n"
        "assert Lake('s3://bucket').storage_options()['AWS_ACCESS_KEY_ID'] == 'a'\n"
        "assert not [name for name in sys.modules if name.startswith(('boto3', 'botocore'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("profile", ["", "lake"])
def test_a_profile_gives_keys_endpoint_and_region(
    ceph: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profile: str
) -> None:
    with bucket_on(ceph, monkeypatch) as bucket, monkeypatch.context() as patch:
        for name in ceph:
            patch.delenv(name)
        _files(tmp_path, ceph, profile)
        if profile:
            patch.setenv("AWS_PROFILE", profile)
        assert s3.server().endpoint == ceph["AWS_ENDPOINT_URL"]
        _used_by_all(Lake(f"s3://{bucket}/lake"))


def test_the_variables_go_before_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _files(tmp_path, {"AWS_ENDPOINT_URL": "http://of.the.file", KEYS[0]: "file", KEYS[1]: "file"})
    assert (s3.server().key, s3.server().endpoint) == ("file", "http://of.the.file")
    given = {KEYS[0]: "told", KEYS[1]: "told", "AWS_ENDPOINT_URL": "http://told", "AWS_REGION": "eu-north-1"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://told.for.s3")
    found = s3.server()
    assert (found.key, found.endpoint, found.region) == ("told", "http://told.for.s3", "eu-north-1")


def test_keys_that_are_changed_in_the_file_are_seen(tmp_path: Path) -> None:
    _files(tmp_path, {"AWS_ENDPOINT_URL": "http://of.the.file", KEYS[0]: "first", KEYS[1]: "x"})
    assert s3.server().key == "first"
    file = tmp_path / ".aws" / "credentials"
    file.write_text(file.read_text().replace("first", "second"))
    assert s3.server().key == "second"


class Role:
    """A service on loopback that gives out temporary keys, new ones each time: of an instance or of a container."""

    def __init__(self, minutes: int) -> None:
        self.minutes, self.given = minutes, 0

    def answer(self, path: str) -> str:
        if path.endswith("/api/token"):
            return "a-token"
        if path.endswith("/security-credentials/"):
            return "role"
        self.given += 1
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=self.minutes)
        keys = {"AccessKeyId": f"key-{self.given}", "SecretAccessKey": "a-secret", "Token": f"token-{self.given}"}
        return json.dumps({"Code": "Success", "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"), **keys})


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """An HTTP server on loopback; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _service(role: Role) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = role.answer(self.path).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "600")
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with _serving(Handler) as address:
        yield address


KINDS = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "/", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "/role"}


@pytest.mark.parametrize("variable", KINDS)
def test_the_role_of_a_machine_or_a_container_gives_keys(
    moto: dict[str, str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    role = Role(minutes=60)
    with _service(role) as url, bucket_on(moto, monkeypatch) as bucket, monkeypatch.context() as patch:
        for name in KEYS:
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        patch.setenv(variable, url + KINDS[variable])
        _used_by_all(Lake(f"s3://{bucket}/lake"))
        assert (s3.server().key, s3.server().token) == ("key-1", "token-1")
    assert role.given == 1


def test_keys_that_run_out_soon_are_renewed_for_all_in_a_process_that_goes_on(
    moto: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    role = Role(minutes=5)  # within the time in which botocore insists on new ones
    with _service(role) as url, bucket_on(moto, monkeypatch) as bucket, monkeypatch.context() as patch:
        lake = Lake(f"s3://{bucket}/lake")
        for name in KEYS:
            patch.delenv(name)
        patch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/role")
        held = commit.append(lake, TABLE, pa.table({"number": [1]}).to_reader(), {}, base=None, by_day=False)
        seen = []
        for _ in range(2):
            with read.connect(lake) as connection:
                assert connection.execute(f"SELECT count(*) FROM {read.relation(lake, TABLE)}").fetchall() == [(1,)]
                (secret,) = connection.execute("SELECT secret_string FROM duckdb_secrets()").fetchone() or ("",)
            keys = dict(part.split("=", 1) for part in secret.split(";"))
            seen.append((keys["key_id"], lake.storage_options()["AWS_SESSION_TOKEN"], objects.filesystem(lake)))
        assert held.version == 0
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] != seen[1][1]
    assert seen[0][2] is not seen[1][2]


def test_a_commit_is_made_with_the_keys_of_its_own_time(moto: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with _service(Role(minutes=5)) as url, bucket_on(moto, monkeypatch) as bucket, monkeypatch.context() as patch:
        lake = Lake(f"s3://{bucket}/lake")
        for name in KEYS:
            patch.delenv(name)
        patch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/role")
        commit.append(lake, TABLE, pa.table({"number": [1]}).to_reader(), {}, base=None, by_day=False)
        base, tokens, real = commit.table(lake, TABLE), [], commit.DeltaTable

        def opened(*given: Any, storage_options: dict[str, str], **named: Any) -> Any:
            tokens.append(storage_options["AWS_SESSION_TOKEN"])
            return real(*given, storage_options=storage_options, **named)

        now = s3.server().token
        patch.setattr(commit, "DeltaTable", opened)
        made = commit.append(lake, TABLE, pa.table({"number": [2]}).to_reader(), {}, base=base, by_day=False)
    assert made.version == 1
    assert int(tokens[0].removeprefix("token-")) > int(now.removeprefix("token-"))


def test_no_secret_stands_in_what_is_shown_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "pass-me-not")
    assert "pass-me-not" not in repr(s3.server())


# How a bucket is addressed


@pytest.mark.parametrize(
    ("endpoint", "style", "delta", "duckdb"),
    [
        ("", "", "", "'vhost'"),
        ("", "path", "", "'path'"),
        ("https://s3.example.org", "", "https://s3.example.org", "'path'"),
        ("https://s3.example.org", "virtual", "https://bucket.s3.example.org", "'vhost'"),
    ],
)
def test_a_bucket_is_named_in_the_path_or_in_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, endpoint: str, style: str, delta: str, duckdb: str
) -> None:
    (tmp_path / ".aws").mkdir()
    config = "[default]\n" + (f"s3 =\n  addressing_style = {style}\n" if style else "")
    (tmp_path / ".aws" / "config").write_text(config + (f"endpoint_url = {endpoint}\n" if endpoint else ""))
    for name in KEYS:
        monkeypatch.setenv(name, "a")
    options = Lake("s3://bucket/lake").storage_options()
    assert options.get("AWS_ENDPOINT_URL", "") == delta
    assert options.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "false") == str(style == "virtual").lower()
    assert f"URL_STYLE {duckdb}" in duck.s3_secret()[-1]


# Trust


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority of its own (ca.pem) and a certificate of loopback that it signed."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "of").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=Own",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=loopback",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile of -out server.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def with_tls(authority: Path) -> Iterator[dict[str, str]]:
    """A server that speaks TLS with a certificate of the authority."""
    port = free_port()
    command = [program("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    command += ["-c", str(authority / "server.pem"), "-k", str(authority / "server.key")]
    with s3_server(command, port, authority / "log") as variables:
        yield variables | {"AWS_ENDPOINT_URL": f"https://127.0.0.1:{port}"}


# In processes of their own: what a process trusts is settled when it first connects.
TRUSTING = """
import sys
sys.path[:0] = {tests!r}
import test_s3_access
from lake import s3
from lake.layout import Lake
s3.client().create_bucket(Bucket="trusted")
test_s3_access._used_by_all(Lake("s3://trusted/lake"))
"""
DOUBTING = """
import sys
from lake import access, commit, inventory, read
from lake.layout import Address, Lake
lake, table = Lake("s3://bucket/lake"), Address("raw", "shop", "orders")
def listed():
    with access.told(lake):
        inventory.folders(lake, "raw")
for attempt in (lambda: access.check(lake), lambda: commit.table(lake, table), listed):
    try:
        attempt()
        print("trusted!")
    except Exception as error:
        print(error)
with read.connect(lake) as connection:
    try:
        connection.execute("SELECT * FROM read_parquet('s3://bucket/lake/*.parquet')")
        print("trusted!")
    except Exception as error:
        print(access.explained(lake, error))
"""


def _run(code: str, variables: dict[str, str]) -> list[str]:
    import os

    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_an_authority_of_ones_own_is_trusted_by_all_four(with_tls: dict[str, str], authority: Path) -> None:
    code = TRUSTING.format(tests=[str(folder) for folder in Path(__file__).parents[:2]])
    _run(code, with_tls | {"AWS_CA_BUNDLE": str(authority / "ca.pem")})


def test_a_certificate_of_nobody_known_is_refused_by_all_four_in_one_sentence(with_tls: dict[str, str]) -> None:
    sentence = (
        "lake s3://bucket/lake: the S3 server's certificate is not trusted; let AWS_CA_BUNDLE name the file with its "
        "authority's certificate, or correct AWS_ENDPOINT_URL"
    )
    assert _run(DOUBTING, with_tls) == [sentence] * 4


def test_a_bundle_that_is_no_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "a")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(AccessDenied, match=r"AWS_CA_BUNDLE: /nowhere/ca\.pem is no file; name a file of certificates"):
        s3.server()


def test_https_to_a_server_without_it_is_told(moto: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (moto | {"AWS_ENDPOINT_URL": moto["AWS_ENDPOINT_URL"].replace("http", "https")}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AccessDenied, match="the S3 server does not speak TLS; write http:// in AWS_ENDPOINT_URL"):
        access.check(Lake("s3://bucket/lake"))


# What may be wrong


@pytest.fixture
def closed(ceph: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A lake on Ceph in whose place nobody may write."""
    with bucket_on(ceph, monkeypatch) as bucket:
        deny = {"Effect": "Deny", "Principal": "*", "Action": ["s3:PutObject"]}
        policy = {"Version": "2012-10-17", "Statement": [deny | {"Resource": [f"arn:aws:s3:::{bucket}/closed/*"]}]}
        s3.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        yield Lake(f"s3://{bucket}/closed")
        s3.client().delete_bucket_policy(Bucket=bucket)


def test_a_place_without_the_right_to_write_is_told_apart_from_wrong_keys(closed: Lake) -> None:
    def commits() -> None:
        commit.append(closed, TABLE, pa.table({"number": [1]}).to_reader(), {}, base=None, by_day=False)

    for attempt in (lambda: access.check(closed), commits):
        with pytest.raises(AccessDenied) as raised:
            attempt()
        assert str(raised.value) == (
            f"lake {closed.root}: the S3 server allows these credentials no access here; let the policy of bucket "
            f"{closed.bucket} allow s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject"
        )


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        (KEYS[0], "check AWS_ACCESS_KEY_ID, or the profile: the server does not know this key"),
        (KEYS[1], "check AWS_SECRET_ACCESS_KEY, or the profile: it does not belong to the key"),
    ],
)
@pytest.mark.parametrize("server", ["ceph", "rclone"])
def test_of_wrong_keys_is_said_which_and_not_what(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str, name: str, mend: str
) -> None:
    with bucket_on(request.getfixturevalue(server), monkeypatch) as bucket:
        lake = Lake(f"s3://{bucket}/lake")
        with monkeypatch.context() as patch:
            patch.setenv(name, "WRONGWRONGWRONGWRONG")
            for attempt in (lambda: access.check(lake), lambda: commit.table(lake, TABLE)):
                with pytest.raises(AccessDenied) as raised:
                    attempt()
                assert str(raised.value) == f"lake {lake.root}: the S3 server refuses these credentials; {mend}"


@pytest.mark.parametrize("server", ["ceph", "rclone"])
def test_a_clock_that_is_wrong_is_told(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    real = botocore.auth.get_current_datetime
    with bucket_on(request.getfixturevalue(server), monkeypatch) as bucket, monkeypatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda *given: real(*given) - datetime.timedelta(hours=3))
        with pytest.raises(AccessDenied, match="this machine's clock differs from the S3 server's by too much; set"):
            access.check(Lake(f"s3://{bucket}/lake"))


@contextmanager
def _answering(status: int, body: str) -> Iterator[str]:
    """A server that answers every request alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with _serving(Handler) as address:
        yield address


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        # As AWS answers; none of the servers here has regions.
        (
            400,
            "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'eu-north-1' is wrong; expecting "
            "'us-west-2'</Message><Region>us-west-2</Region></Error>",
            AccessDenied,
            "bucket bucket is not in the region eu-north-1; set AWS_REGION to the bucket's region",
        ),
        (
            400,
            "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
            AccessDenied,
            "the S3 server no longer takes these temporary credentials; log in again",
        ),
        (200, "<html>Welcome</html>", LakeUnavailable, "what answers is no S3 server; correct AWS_ENDPOINT_URL"),
        (404, "<html>Not found</html>", LakeUnavailable, "what answers is no S3 server; correct AWS_ENDPOINT_URL"),
        (503, "<Error><Code>SlowDown</Code></Error>", LakeUnavailable, "the S3 server does not answer"),
    ],
)
def test_what_other_servers_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, status: int, body: str, kind: type[Exception], sentence: str
) -> None:
    with _answering(status, body) as url:
        for name, value in zip(S3_NAMES, (url, "a-key", "a-secret", "eu-north-1"), strict=True):
            monkeypatch.setenv(name, value)
        with pytest.raises(kind, match=sentence):
            access.check(Lake("s3://bucket/lake"))


def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "elsewhere")
    with pytest.raises(AccessDenied, match=r"S3: The config profile \(elsewhere\) could not be found; correct AWS_"):
        s3.server()
