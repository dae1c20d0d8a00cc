"""Names of columns in files as names of columns in a table: the same, whatever the case, order or gaps of a header."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lake.errors import SchemaDrift

RESERVED = {"year", "month", "day", "_file", "_row", "_op", "_loaded_at", "_load_id", "_misfit", "_ragged"}
RESERVED |= {"_reason", "_at", "_day", "_shard"}


class Names:
    """The columns' names as first seen; `declared` ones are spelt as the source file spells them.

    `renamed` are columns whose name in the files is another one: name in the lake → name in the files.
    """

    def __init__(self, declared: Iterable[str], renamed: Mapping[str, str] | None = None) -> None:
        self.seen = {name.casefold(): name for name in declared}
        self.new = {old.casefold(): name for name, old in (renamed or {}).items()}

    def of(self, header: Sequence[str]) -> list[str]:
        """The columns of one file: an empty name is `column_3`, a second `id` is `id_2`, the lake's own get a `_`."""
        given_names = {given.strip().casefold() for given in header}
        for old, name in self.new.items():
            if old in given_names and name.casefold() in given_names and name.casefold() not in self.new:
                mend = f'give the other one a name of its own: `columns: {{{name}_: {{from: "{name}"}}}}`'
                raise SchemaDrift(f'column "{name}"', f'is taken from "{old}", but a file has a "{name}" too', mend)
        names: list[str] = []
        taken: set[str] = set()
        for place, given in enumerate(header, 1):
            plain = given.strip().strip("\ufeff").strip() or f"column_{place}"
            plain = self.new.get(plain.casefold(), plain)
            plain += "_" if plain.casefold() in RESERVED else ""
            name, number = plain, 1
            while name.casefold() in taken:
                number += 1
                name = f"{plain}_{number}"
            taken.add(name.casefold())
            names.append(self.seen.setdefault(name.casefold(), name))
        return names
