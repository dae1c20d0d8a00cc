"""Which addresses this machine listens on at a port, as the kernel tells it."""

from pathlib import Path


def listeners(port: int) -> set[str]:
    """Local addresses in state LISTEN at `port`, in the kernel's hexadecimal form."""
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    local = [(fields[1].split(":"), fields[3]) for fields in lines]
    return {address for (address, number), state in local if state == "0A" and int(number, 16) == port}


LOOPBACK = {"0100007F"}
