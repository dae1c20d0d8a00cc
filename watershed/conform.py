"""The models that map a shop's tables to the words of the marts, drafted: typed, empty, enabled for that shop alone.

What the marts ask stands in `dbt_project/models/intermediate/_int_shop__models.yml`. A draft has no rows, so that all
marts can be built from the start; filling it in is for the one who knows the shop.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ingestion.spec import Source
from lake.errors import SpecError

ID_TYPE = "{{ id_type() }}"
# The folders of the built-in shop in dbt_project.yml; those of another shop are written below them.
FOLDER = re.compile(r"^( +)shop: (\{\+enabled: .*== )'shop'( \}\}\"\})$", re.MULTILINE)


def missing(project: Path, source: Source) -> dict[Path, str]:
    """The files to write so that the marts can be built from `source`, and their whole new text.

    These are a model for each one that the marts ask of a shop, unless it is there, and dbt_project.yml with the
    folders of the shop. Raises SpecError if that file has no folders of the built-in shop to go by.
    """
    intermediate = project / "models" / "intermediate"
    asked = yaml.safe_load((intermediate / "_int_shop__models.yml").read_text(encoding="utf-8"))["models"]
    drafts = {intermediate / source.name / f"{model['name']}.sql": _draft(model) for model in asked}
    wanted = {path: text for path, text in drafts.items() if not path.exists()}
    settings = project / "dbt_project.yml"
    before = settings.read_text(encoding="utf-8")
    if (after := _enabled(settings, before, source.name)) != before:
        wanted[settings] = after
    return wanted


def _draft(model: Mapping[str, Any]) -> str:
    return "\n".join(_lines(model)) + "\n"


def _lines(model: Mapping[str, Any]) -> Iterator[str]:
    yield "-- To be filled in from the shop's staging models; without rows the shop has none of this."
    yield "select"
    columns = model["columns"]
    for number, column in enumerate(columns, 1):
        kind = str(column.get("data_type", "varchar"))
        named = ID_TYPE if "SHOP_ID_TYPE" in kind else _short(kind)
        yield f"    cast(null as {named}) as {column['name']}{',' if number < len(columns) else ''}"
    yield "where false"


def _short(kind: str) -> str:
    return kind.replace("timestamp with time zone", "timestamptz").replace("(12,2)", "(12, 2)")


def _enabled(path: Path, text: str, name: str) -> str:
    """The settings of dbt with the folders of the shop `name` wherever the built-in shop has them."""
    if f"== '{name}'" in text:
        return text
    after, count = FOLDER.subn(rf"\g<0>\n\g<1>{name}: \g<2>'{name}'\g<3>", text)
    if not count:
        mend = f"enable the folders {name} of staging and intermediate there for SHOP_SOURCE={name}"
        raise SpecError(str(path), "has no folders of the built-in shop", mend)
    return after
