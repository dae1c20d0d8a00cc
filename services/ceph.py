"""A one-node Ceph with its S3 gateway, from Debian's packages: a monitor, one OSD on a sparse file, radosgw.

It exists so that lake code is tried against a server that enforces keys and conditional PUT (`If-None-Match: *`), as
a mock does not. No manager daemon runs: nothing here needs placement statistics, and it would cost Python in the tree
and 200 MB of memory.
"""

import json
import secrets
import shutil
import time
import uuid
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

from lake.errors import PermanentError
from services.process import Server, run
from services.tree import Tree

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")
DAEMONS = {
    "mon": ("ceph-mon", "-f", "--id", "a"),
    "osd": ("ceph-osd", "-f", "--id", "0"),
    "gateway": ("radosgw", "-f", "--name", "client.rgw.a"),
}
_WHERE = "services, S3"

# Paxos proposes and ticks faster than the defaults, made for many nodes: the first bucket took 29 s, now 0.2 s. A watch
# of a killed gateway is forgotten after 8 s, not 30: until then the new one cannot make buckets.
# One copy, few placement groups, small caches, no benchmark of the disk at the first start. mon_data_avail_* would stop
# the monitor on a disk that is merely full to 95 %.
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{monitor_port}/0
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
ms_bind_msgr1 = false
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
keyring = /srv/keyring
run_dir = /srv/run
admin_socket = /srv/run/$name.asok
log_file =
log_to_stderr = true
err_to_stderr = true
debug_ms = 0/0
debug_mon = 0/1
debug_paxos = 0/1
debug_osd = 0/1
debug_rocksdb = 0/1
debug_bluestore = 0/1
debug_bluefs = 0/1
debug_rgw = 0/1
clog_to_monitors = default=false
paxos_propose_interval = 0.05
paxos_min_wait = 0.02
mon_tick_interval = 1
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
[mon]
mon_data = /srv/mon
mon_cluster_log_to_file = false
mon_cluster_log_to_stderr = false
mon_allow_pool_size_one = true
mon_data_avail_crit = 0
mon_data_avail_warn = 0
mon_max_pg_per_osd = 1000
[osd]
osd_data = /srv/osd
osd_objectstore = bluestore
bluestore_block_size = 34359738368
bluestore_cache_autotune = false
bluestore_cache_size = 67108864
osd_mclock_skip_benchmark = true
osd_client_watch_timeout = 8
[client.rgw.a]
rgw_data = /srv/gateway
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_thread_pool_size = 32
rgw_enable_apis = s3, admin
rgw_enable_usage_log = false
rgw_run_sync_thread = false
"""


@dataclass(frozen=True)
class Keys:
    """An S3 user's keys."""

    access: str
    secret: str


@dataclass(frozen=True)
class Ceph:
    """The cluster whose data is `tree.folder`."""

    tree: Tree

    def server(self, daemon: str) -> Server:
        """The background process of one daemon."""
        services = self.tree.folder.parent
        return Server(f"S3 {daemon}", services / f"s3-{daemon}.pid", services / f"s3-{daemon}.log")

    def configure(self, port: int, monitor_port: int) -> None:
        """Make keys, monitor and OSD unless they are there, and write the configuration. The cluster must be down."""
        if not self.tree.folder.exists():
            draft = Tree(self.tree.root, self.tree.folder.with_name("s3.draft"))
            shutil.rmtree(draft.folder, ignore_errors=True)
            draft.own_folder()
            Ceph(draft)._make(port, monitor_port)
            draft.folder.rename(self.tree.folder)
        self._write_configuration(port, monitor_port)

    def start(self) -> None:
        """Start the daemons that are not running."""
        for daemon, words in DAEMONS.items():
            if self.server(daemon).pid() is None:
                self.server(daemon).start(self._command(*words))

    def first_start(self) -> Keys:
        """Introduce the OSD to the monitor, start all daemons, make the S3 user; may be repeated after a kill."""
        self.server("mon").start(self._command(*DAEMONS["mon"]))
        known = self._run("ceph", "--connect-timeout", "60", "osd", "ls").split()
        if "0" not in known:
            fsid = (self.tree.folder / "osd" / "fsid").read_text().strip()
            self._run("ceph", "osd", "new", fsid, "0")
        self.server("osd").start(self._command(*DAEMONS["osd"]))
        keys = self._user()
        self.start()
        return keys

    def answer(self, port: int, patience_s: float = 180) -> None:
        """Wait until the gateway answers on `port`.

        Raises:
            PermanentError: a daemon ended, or the gateway did not answer in time.
        """
        deadline = time.monotonic() + patience_s
        while not answers(port):
            dead = [daemon for daemon in DAEMONS if self.server(daemon).pid() is None]
            if dead or time.monotonic() > deadline:
                server = self.server(dead[0] if dead else "gateway")
                raise PermanentError(_WHERE, f"{server.name} failed: {server.last_words()}", f"read {server.log}")
            time.sleep(0.05)

    def stop(self) -> bool:
        """Stop all daemons; whether one was running."""
        stopped = [self.server(daemon).stop() for daemon in reversed(DAEMONS)]
        return any(stopped)

    def alive(self) -> set[str]:
        """The daemons that run."""
        return {daemon for daemon in DAEMONS if self.server(daemon).pid() is not None}

    def _make(self, port: int, monitor_port: int) -> None:
        for name in ("mon", "osd", "run", "gateway"):
            Tree(self.tree.root, self.tree.folder / name).own_folder()
        self._write_configuration(port, monitor_port, fsid := str(uuid.uuid4()))
        for name, capabilities in _CAPABILITIES.items():
            caps = [word for kind, cap in capabilities.items() for word in ("--cap", kind, cap)]
            create = [] if (self.tree.folder / "keyring").exists() else ["--create-keyring"]
            self._run("ceph-authtool", "/srv/keyring", *create, "--gen-key", "--name", name, *caps)
        address = f"[v2:127.0.0.1:{monitor_port}/0]"
        release = ("--set-min-mon-release", "reef")
        self._run("monmaptool", "--create", "--fsid", fsid, *release, "--addv", "a", address, "/srv/monmap")
        self._run("ceph-mon", "--mkfs", "--id", "a", "--monmap", "/srv/monmap", "--keyring", "/srv/keyring")
        self._run("ceph-osd", "--mkfs", "--id", "0", "--osd-uuid", str(uuid.uuid4()), "--no-mon-config")

    def _write_configuration(self, port: int, monitor_port: int, fsid: str | None = None) -> None:
        file, identity = self.tree.folder / "ceph.conf", self.tree.folder / "fsid"
        if fsid:
            identity.write_text(fsid)
        file.write_text(_CONFIGURATION.format(fsid=identity.read_text(), port=port, monitor_port=monitor_port))
        file.chmod(0o644)

    def _user(self) -> Keys:
        try:
            text = self._run("radosgw-admin", "user", "info", "--uid", "watershed")
        except PermanentError:
            # The keys are generated by the server: on the command line any user of this machine could read them.
            text = self._run("radosgw-admin", "user", "create", "--uid", "watershed", "--display-name", "Watershed")
        key = json.loads(text[text.index("{") :])["keys"][0]
        return Keys(key["access_key"], key["secret_key"])

    def _command(self, program: str, *words: str) -> list[str]:
        return self.tree.command(program, "--conf", "/srv/ceph.conf", *words)

    def _run(self, program: str, *words: str) -> str:
        plain = program in ("ceph-authtool", "monmaptool")
        command = self.tree.command(program, *words) if plain else self._command(program, *words)
        return run(command, _WHERE, f"read the logs s3-*.log in {self.tree.folder.parent}", timeout_s=180)


_CAPABILITIES = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
    "client.rgw.a": {"mon": "allow rw", "osd": "allow rwx"},
}


def answers(port: int) -> bool:
    """Whether an S3 server on loopback `port` answers without a server error.

    Asked for a bucket nobody has, the gateway must look into its store: that the gateway alone is alive is not enough.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("HEAD", f"/probe-{secrets.token_hex(8)}")
        return connection.getresponse().status < 500
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
