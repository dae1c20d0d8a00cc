"""The platform's errors: one tree, one message form, `where: what is wrong; what to do`.

    PlatformError
    ├── SpecError            fix the file
    ├── TransientError       retried with back-off
    │   ├── SourceUnavailable
    │   └── LakeUnavailable
    └── PermanentError       never retried
        ├── SchemaDrift
        ├── TruncatedLoad
        ├── ContractBroken
        ├── AccessDenied
        ├── Busy
        │   └── Overtaken    done again by itself
        └── BuildFailed

A message never holds a secret: build it from names, and pass text that came from a driver through `redact`.
"""

import errno
import re


class PlatformError(Exception):
    """An error whose message a person can act on; shown without a stack trace."""

    def __init__(self, where: str, what: str, mend: str) -> None:
        """Say where it happened, what is wrong and what would mend it."""
        self.where, self.what, self.mend = where, what.strip().rstrip("."), mend.strip().rstrip(".")
        super().__init__(redact(f"{self.where}: {self.what}; {self.mend}"))


class SpecError(PlatformError):
    """A declaration (source file, hypertables file) says something it may not say."""


class TransientError(PlatformError):
    """May pass by itself: retried with back-off."""


class PermanentError(PlatformError):
    """Will not pass by itself: never retried."""


class SourceUnavailable(TransientError):
    """A source does not answer."""


class LakeUnavailable(TransientError):
    """The lake's storage does not answer."""


class SchemaDrift(PermanentError):
    """A source's table no longer has the shape that was loaded before."""


class TruncatedLoad(PermanentError):
    """A full reload came back implausibly short."""


class ContractBroken(PermanentError):
    """Rows break the contract of their table."""


class AccessDenied(PermanentError):
    """Credentials are wrong or lack a right."""


class Busy(PermanentError):
    """Another process holds what this one needs."""


class Overtaken(Busy):
    """Another process has committed work of another kind; the same work done again from the start will do."""


class BuildFailed(PermanentError):
    """A model or a test of the warehouse failed."""


_SECRETS = (
    (re.compile(r"(\b\w+://[^\s:/@]*):\S+@"), r"\1:***@"),  # up to the last @: a password may hold one
    (re.compile(r"(?i)(password|passwd|secret|access_key|token)(\s*[=:]\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)"), r"\1\2***"),
)


def is_full(error: Exception) -> bool:
    """Whether an error of the system or of an engine is that of a full disk."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or says_full(str(error))


def says_full(text: str) -> bool:
    """Whether a message of the system or of an engine says that a disk is full."""
    return bool(re.search(r"No space left|quota exceeded|File too large", text))


def redact(text: str) -> str:
    """`text` with passwords in URLs and `key=value` pairs replaced by `***`."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text
