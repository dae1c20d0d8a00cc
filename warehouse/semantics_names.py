"""Short names for what a metric can be asked by: `region` for `store__region`, `month` for a grain of time."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import duckdb

from lake.errors import SpecError

GRAINS = ("hour", "day", "week", "month", "quarter", "year")
WORD = re.compile(r"\w+(?:\.\w+)*")


@dataclass(frozen=True)
class Dimension:
    """One thing to ask by; `name` in full, entity first: `store__region`."""

    name: str
    description: str

    @property
    def entity(self) -> str:
        """Through which entity it is reached: `store`."""
        return self.name.rpartition("__")[0]

    @property
    def short(self) -> str:
        """Its name without the entity: `region`."""
        return self.name.rpartition("__")[2]


class Names:
    """The names that a question about `metrics` may use."""

    def __init__(self, metrics: str, dimensions: Iterable[Dimension]) -> None:
        self.metrics, self.dimensions = metrics, tuple(dimensions)

    def resolved(self, name: str) -> str:
        """The full name of a grain, a dimension's full name (also as entity.name, entity_name) or its short one.

        Raises SpecError if there is none, or more than one.
        """
        if name in GRAINS:
            return f"metric_time__{name}"
        if re.fullmatch(r"metric_time(__\w+)?", name):
            return name
        found = self._matching(name)
        if len(found) == 1:
            return found[0]
        if found:
            raise SpecError(f"metric {self.metrics}", f'"{name}" may be {" or ".join(found)}', "name one of them")
        known = [*GRAINS[1:], *(it.short for it in self.dimensions)]
        raise SpecError(f"metric {self.metrics}", f'cannot be asked by "{name}"', nearest(name, known))

    def condition(self, text: str) -> str:
        """`text` with every dimension and grain in it named as MetricFlow wants it; text with `{{` stays as it is.

        Raises SpecError if it names what is not known.
        """
        if "{{" in text:
            return text
        told, done = [], 0
        for start, kind in duckdb.tokenize(text):
            word = WORD.match(text, start)
            if start < done or word is None or not self._is_name(text, word, kind):
                continue
            told += [text[done:start], self._reference(word[0])]
            done = word.end()
        return "".join(told) + text[done:]

    def _is_name(self, text: str, word: re.Match[str], kind: Any) -> bool:
        if text[word.end() :].lstrip().startswith(("(", "'")):
            return False  # a function, or the type of a literal: date '2026-01-01'
        if kind == duckdb.token_type.keyword:
            is_unit = re.search(r"\d'?\s*$", text[: word.start()])  # interval 1 month
            return not is_unit and (word[0] in GRAINS or bool(self._matching(word[0])))
        return bool(kind == duckdb.token_type.identifier)

    def _reference(self, name: str) -> str:
        full = self.resolved(name)
        if full.startswith("metric_time"):
            return f"{{{{ TimeDimension('metric_time', '{full.rpartition('__')[2]}') }}}}"
        return f"{{{{ Dimension('{full}') }}}}"

    def _matching(self, name: str) -> list[str]:
        full = name.replace(".", "__")
        same = [it.name for it in self.dimensions if full in (it.name, f"{it.entity}_{it.short}")]
        return same or [it.name for it in self.dimensions if it.short == name]


def short(name: str, names: Names) -> str:
    """What the column of `name` is called: a grain, or the dimension's short name unless another shares it."""
    full = names.resolved(name)
    last = full.rpartition("__")[2]
    if full.startswith("metric_time"):
        return last
    return last if sum(it.short == last for it in names.dimensions) == 1 else full


def nearest(name: str, known: Iterable[str]) -> str:
    """What to do about a name that is not known."""
    there = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, there, n=1)
    return f'did you mean "{close[0]}"?' if close else f"there are: {', '.join(there)}"
