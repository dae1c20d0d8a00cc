"""The text of a dropped file as UTF-8, streamed: unpacked by what its first bytes say, decoded as declared or found.

Without a declaration: UTF-8, UTF-16 or UTF-32 by a byte order mark; UTF-16 without one by its zero bytes; else UTF-8,
in which any byte that is not is read as Windows-1252. So no file of these kinds fails, whichever it is. A declared
encoding is binding: a file that breaks it is an error.
"""

from __future__ import annotations

import codecs
import io
from typing import Any, BinaryIO

from lake.errors import PermanentError

PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\x04\x22\x4d\x18": "lz4"}
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
BLOCK = 1 << 20
LENIENT = "watershed-windows-1252"


def opened(where: str, packed: BinaryIO, encoding: str | None, ending: bytes = b"\n") -> io.BufferedReader:
    """The text of the stream `packed` as UTF-8 bytes without a mark, with `ending` after it; reads as it is read.

    The last line may lack its end, which parsers of lines need: hence an ending.

    Raises PermanentError for a file that is cut short or not in its declared encoding.
    """
    codecs.register_error(LENIENT, _as_windows)
    return io.BufferedReader(_Utf8(where, unpacked(packed), encoding, ending), BLOCK)


def unpacked(packed: BinaryIO) -> Any:
    """The stream's bytes, decompressed if it begins as gzip, zstd, bzip2 or lz4 do."""
    import pyarrow as pa

    start = packed.read(4)
    packed.seek(0)
    kind = next((name for mark, name in PACKED.items() if start.startswith(mark)), None)
    return pa.CompressedInputStream(pa.PythonFile(packed, "r"), kind) if kind else packed


class _Utf8(io.RawIOBase):
    """Decodes and encodes again, block by block; UTF-8 passes through the same way, which checks it."""

    def __init__(self, where: str, source: Any, declared: str | None, ending: bytes) -> None:
        super().__init__()
        self.where, self.source, self.declared, self.ending = where, source, declared, ending
        self.decoder: codecs.IncrementalDecoder | None = None
        self.waiting, self.ended = b"", False

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self.source.close()
        super().close()

    def readinto(self, target: Any) -> int:
        while not self.waiting and not self.ended:
            self.waiting = self._next()
        block, self.waiting = self.waiting[: len(target)], self.waiting[len(target) :]
        target[: len(block)] = block
        return len(block)

    def _next(self) -> bytes:
        try:
            block = self.source.read(BLOCK)
        except OSError as error:  # of the decompressor; the place's own errors are PlatformErrors
            what = "is cut short or damaged" if "runcated" in str(error) else f"cannot be unpacked ({error})"
            raise PermanentError(self.where, what, "drop it again, whole") from None
        if self.decoder is None:
            self.decoder = _decoder(block, self.declared)
        self.ended = not block
        try:
            text = self.decoder.decode(block, final=self.ended)
        except UnicodeError as error:
            encoding = self.declared or "UTF-16"
            what = f"is not in {encoding}" + (" as declared" if self.declared else "")
            byte = error.object[error.start] if isinstance(error, UnicodeDecodeError) else 0
            mend = "correct `encoding:`, or leave it out to have it found" if self.declared else "drop it again, whole"
            raise PermanentError(self.where, f"{what} (byte 0x{byte:02X})", mend) from None
        return text.encode("utf-8", "replace") + (self.ending if self.ended else b"")


def _decoder(start: bytes, declared: str | None) -> codecs.IncrementalDecoder:
    marked = next((name for mark, name in MARKS if start.startswith(mark)), None)
    if declared:
        # Declared UTF-8 may carry a mark; declared UTF-16 without one is what this machine's byte order says.
        name = "utf-8-sig" if codecs.lookup(declared).name == "utf-8" else declared
        return codecs.getincrementaldecoder(name)("strict")
    if marked and marked != "utf-8":
        return codecs.getincrementaldecoder(marked)("strict")
    if not marked and (plain := _unmarked_utf_16(start)):
        return codecs.getincrementaldecoder(plain)("strict")
    return codecs.getincrementaldecoder("utf-8-sig")(LENIENT)


def _unmarked_utf_16(start: bytes) -> str | None:
    """Text of western scripts in UTF-16 has a zero in every other byte."""
    sample = start[:1000]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if len(sample) < 4 or max(even, odd) < 0.4 * (len(sample) // 2) or min(even, odd):
        return None
    return "utf-16-be" if even else "utf-16-le"


def _as_windows(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    byte = error.object[error.start : error.start + 1]
    # Five bytes have no character in Windows-1252; there Latin-1 keeps them.
    return byte.decode("cp1252", "ignore") or byte.decode("latin-1"), error.start + 1
