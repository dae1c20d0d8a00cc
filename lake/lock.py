"""One writer at a time, where the store itself cannot see to it.

On a folder, and on an S3 server that enforces conditional PUT, of two commits of one version one fails: nothing is
locked. Elsewhere a commit is made under a lock per table, made of plain objects below `_locks/`. Who wants it puts a
ticket of his own there and lists: he holds it if no other living ticket is there. As listings show what was put before,
of two at least one sees the other, whatever the order.

A ticket lives for its lease, by the server's own clock; it is renewed under a new name, because some servers delete
before they overwrite. So a crashed holder cannot keep a lock, and one that stood still finds his ticket dead and does
not commit. What remains is a holder that stands still for as long between his last look and his PUT.
"""

import contextlib
import datetime
import json
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lake import probe, s3
from lake.errors import Busy
from lake.layout import Address, Lake

LEASE_S = 30  # or WATERSHED_LOCK_LEASE_S; not below 4: the clock in a server's answers ticks in seconds
RENEWALS = 4  # in a lease
PATIENCE = 4  # leases that a writer waits for others
PAUSE_S = (0.05, 0.4)  # between two looks, at random
EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)


@contextmanager
def sole_writer(lake: Lake, address: Address) -> Iterator[Callable[[], None] | None]:
    """Be the only one who commits to the table at `address`, for the length of a commit.

    Gives None where the store sees to that. Where a lock is held, gives a check to be made right before the commit,
    after a look whether the table is still at the version he read: it raises Busy if the lock was lost. Busy is raised
    too if others hold the lock for too long, and at the end if it was lost during the commit.
    """
    if probe.traits(lake).has_conditional_put:
        yield None
        return
    ticket = _Ticket(lake, address, s3.client())
    try:
        ticket.take()
        with ticket.renewed():
            yield ticket.check
            ticket.check()
    finally:
        ticket.withdraw()


@dataclass(frozen=True)
class _Seen:
    """A ticket as a listing shows it; `age` in seconds by the server's clock."""

    key: str
    holder: str
    lease: int
    age: float

    @property
    def is_alive(self) -> bool:
        """Whether it was put within its lease; a second more, as the clock ticks in seconds."""
        return self.age <= self.lease + 1


@dataclass
class _Ticket:
    """One holder's ticket for one table.

    `names` are those of its objects that may be there, `until` when the last one dies: a lease after an answer of the
    server that came before it was put. A ticket that was renewed too late is lost for good: others may have held the
    lock in between.
    """

    lake: Lake
    address: Address
    client: Any
    holder: str = field(default_factory=lambda: secrets.token_hex(8))
    lease: int = field(default_factory=lambda: int(os.environ.get("WATERSHED_LOCK_LEASE_S") or LEASE_S))
    names: list[str] = field(default_factory=list)
    turn: int = 0
    clock: datetime.datetime = EPOCH
    until: datetime.datetime = EPOCH
    is_lost: bool = False
    since: str = ""
    writing: Any = field(default_factory=threading.Lock)

    @property
    def folder(self) -> str:
        """Where the tickets for the table lie."""
        return self.lake.key(f"_locks/{self.address}/")

    def take(self) -> None:
        """Come to hold the lock: to see no other living ticket after one's own was put. Raises Busy at last."""
        patience = time.monotonic() + PATIENCE * self.lease
        while True:
            others = [one for one in self._listed() if one.holder != self.holder and one.is_alive]
            if self.is_sound and not others:
                return
            if not others:
                self.withdraw()
                self._put()
                continue
            if not self.is_sound or min(one.holder for one in others) < self.holder:
                self.withdraw()  # of all who have met, the first by name stays
            if time.monotonic() > patience:
                raise self._busy(others[0])
            time.sleep(random.uniform(*PAUSE_S))  # noqa: S311

    @property
    def is_sound(self) -> bool:
        """Whether the ticket has lived without a gap, and lives on for as long as it takes to renew it."""
        left = self.until - self.clock
        return bool(self.names) and not self.is_lost and left >= datetime.timedelta(seconds=self.lease / RENEWALS)

    def check(self) -> None:
        """Raise Busy unless the server shows the ticket and its clock leaves it some time."""
        with self.writing:
            is_there = any(one.holder == self.holder for one in self._listed())
        if not (is_there and self.is_sound):
            what = "this process stood still for so long that it lost its turn to write"
            raise Busy(f"lake table {self.address}", what, "run again; nothing is harmed")

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the ticket some times a lease, from a thread of its own."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(self.lease / RENEWALS):
                with contextlib.suppress(Exception):  # a ticket that is not renewed dies, which `check` sees
                    self._put()

        thread = threading.Thread(target=renew, name=f"lock {self.address}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def withdraw(self) -> None:
        """Take the ticket back; an object that cannot be removed dies by itself."""
        with self.writing:
            self._remove(self.names)
            self.names, self.is_lost = [], False

    def _put(self) -> None:
        """Put the ticket; in place of an older one, which is removed then."""
        with self.writing:
            old, before, self.turn = self.names, self.clock, self.turn + 1
            name = f"{self.folder}{self.holder}.{self.lease}.{self.turn}"
            self.names = [*old, name]  # first: an object may be there though the answer is lost
            self.since = self.since or f"{before:%F %T} UTC"
            told = {"host": socket.gethostname(), "pid": os.getpid(), "since": self.since}
            self._answered(self.client.put_object(Bucket=self.lake.bucket, Key=name, Body=json.dumps(told).encode()))
            self.is_lost |= bool(old) and self.clock + datetime.timedelta(seconds=1) > self.until
            self.until = before + datetime.timedelta(seconds=self.lease)
            self._remove(old)
            self.names = [name]

    def _listed(self) -> list[_Seen]:
        """All tickets for the table; those long dead are removed on the way."""
        answer = self.client.list_objects_v2(Bucket=self.lake.bucket, Prefix=self.folder)
        self._answered(answer)
        seen = []
        for entry in answer.get("Contents", []):
            holder, lease, _ = entry["Key"].removeprefix(self.folder).split(".")
            age = (self.clock - entry["LastModified"]).total_seconds()
            seen.append(_Seen(entry["Key"], holder, int(lease), age))
        self._remove([one.key for one in seen if one.age > 3 * one.lease])
        return seen

    def _answered(self, answer: dict[str, Any]) -> None:
        self.clock = max(self.clock, s3.now(answer))

    def _remove(self, keys: list[str]) -> None:
        for key in keys:
            with contextlib.suppress(Exception):
                self.client.delete_object(Bucket=self.lake.bucket, Key=key)

    def _busy(self, other: _Seen) -> Busy:
        try:
            told = json.loads(self.client.get_object(Bucket=self.lake.bucket, Key=other.key)["Body"].read())
            holder = f"process {told['pid']} on {told['host']} since {told['since']}"
        except Exception:  # it may just have gone
            holder = "another process"
        mend = f"wait for it to end and run again; a crashed one loses its turn after {other.lease} s"
        return Busy(f"lake table {self.address}", f"is being written by {holder}", mend)
