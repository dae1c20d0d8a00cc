"""Files copied whole and made durable: blocks are shared where the file system can, else read and written once."""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

FICLONE = 0x40049409  # ioctl: share the blocks of another file (Btrfs, XFS, bcachefs); other file systems refuse
PIECE = 64 << 20


def copy(source: Path, target: Path) -> None:
    """Copy a file: by shared blocks where the file system can, else within the kernel, else through this process."""
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
            return
        except OSError:
            pass
        with suppress(OSError):  # a file system that does not copy by itself; what it did copy stays
            while os.copy_file_range(reader.fileno(), writer.fileno(), PIECE):
                pass
        shutil.copyfileobj(reader, writer, 8 << 20)


def sync(path: Path) -> None:
    """Return when a file, or the names in a folder, would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def written(path: Path, text: str) -> None:
    """Write a small file in one piece, durably: after a kill it holds what it held before, or `text`."""
    draft = path.with_suffix(".tmp")
    draft.write_text(text)
    sync(draft)
    draft.replace(path)
    sync(path.parent)
