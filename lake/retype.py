"""Columns of a table made wider: raw, processed and history rewritten with the new type, each in one commit."""

from collections.abc import Mapping

import pyarrow as pa

from lake.intake import Subject
from lake.layout import Lake


def widen(lake: Lake, subject: Subject, widened: Mapping[str, pa.DataType]) -> None:
    """Change the type of columns that raw holds; does nothing where they have it already.

    Raw comes last: killed in between, the next load finds raw with its old types and does the rest. What raw waits to
    be folded must be folded before. Old versions of the tables keep the old type.
    """
    raise NotImplementedError
