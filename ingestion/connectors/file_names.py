"""Names of columns in files as names of columns in a table: the same, whatever the case, order or gaps of a header."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

RESERVED = {"year", "month", "day", "_file", "_row", "_op", "_loaded_at", "_load_id", "_misfit", "_ragged"}
RESERVED |= {"_reason", "_at", "_day", "_shard"}


class Names:
    """The columns' names as first seen; `declared` ones are spelt as the source file spells them."""

    def __init__(self, declared: Iterable[str]) -> None:
        self.seen = {name.casefold(): name for name in declared}

    def of(self, header: Sequence[str]) -> list[str]:
        """The columns of one file: an empty name is `column_3`, a second `id` is `id_2`, the lake's own get a `_`."""
        names: list[str] = []
        taken: set[str] = set()
        for place, given in enumerate(header, 1):
            plain = given.strip().strip("\ufeff").strip() or f"column_{place}"
            plain += "_" if plain.casefold() in RESERVED else ""
            name, number = plain, 1
            while name.casefold() in taken:
                number += 1
                name = f"{plain}_{number}"
            taken.add(name.casefold())
            names.append(self.seen.setdefault(name.casefold(), name))
        return names
