"""Where one shop's data lives on this machine, and the environment in which every part of the platform finds it.

Each shop has a folder of its own below `.data/` (or WATERSHED_HOME) and databases of its own. Two shops are examples
that live in a database of ours, the source `shop`; every other source that says `shop:` is a shop by its own name.
A variable that is already set is used as it is; nothing here starts a server.
"""

from __future__ import annotations

import difflib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lake.errors import SpecError

if TYPE_CHECKING:
    from ingestion.spec import Source

PROJECT = Path(__file__).resolve().parent.parent
EXAMPLES, EXAMPLE_SOURCE = ("retail", "completejourney"), "shop"
# The grocer's year ended long ago: for retention and freshness its clock stands at the end of that year.
GROCER_NOW, GROCER_FIRST_DAY = "2018-01-01T12:00:00+00:00", "2017-01-01"
DAGSTER = """\
telemetry: {enabled: false}
event_log_storage:
  module: orchestration.event_log
  class: EventLog
  config: {base_dir: %s}
nux: {enabled: false}
concurrency:
  runs: {max_concurrent_runs: 1}
  pools: {default_limit: 1, granularity: run}
retention:
  sensor: {purge_after_days: {skipped: 2, failure: 30, success: 30}}
  schedule: {purge_after_days: 30}
"""


@dataclass(frozen=True)
class Site:
    """One shop's place: its name and the folder with its lake, warehouse and orchestration records.

    `source` is what declares a shop of one's own; the examples have none.
    """

    shop: str
    home: Path
    source: Source | None = None

    @property
    def databases(self) -> dict[str, str]:
        """Names of the databases that the platform keeps for the shop, by variable: its example's and the metrics'."""
        metrics = {"METRICS_DSN": "metrics" if self.shop == "retail" else f"{self.shop}_metrics"}
        if self.source:
            return metrics
        return {"SHOP_DSN": "shop" if self.shop == "retail" else self.shop, **metrics}

    @property
    def environment_file(self) -> Path:
        """Where the last run wrote the connections it used (mode 600)."""
        return self.home / "env"


def site(shop: str | None = None) -> Site:
    """The site of `shop` (or of the variable SHOP, or `retail`). Raises SpecError for an unknown shop."""
    name = shop or os.environ.get("SHOP") or "retail"
    base = Path(os.environ.get("WATERSHED_HOME") or PROJECT / ".data").resolve()
    return Site(name, base / name, None if name in EXAMPLES else _own(name))


def enter(shop: str | None = None) -> Site:
    """Set the variables of one shop in this process, from the defaults and from what its last run recorded."""
    here = site(shop)
    here.home.mkdir(parents=True, exist_ok=True)
    values = {
        "SHOP": here.shop,
        "LAKE_ROOT": str(here.home / "lake"),
        "WAREHOUSE_ROOT": str(here.home / "warehouse"),
        "DAGSTER_HOME": str(here.home / "dagster"),
        "WATERSHED_STATE": str(here.home),
        "WATERSHED_STAGING": str(here.home / "staging"),
        "DO_NOT_TRACK": "1",
        "DAGSTER_EVENT_BATCH_SIZE": "1000",  # a range of days is recorded in one transaction, not one per day
        **_settings(here),
        **recorded(here),
    }
    for name, value in values.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("WATERSHED_MASK_SALT", _salt(here))
    _write_instance(Path(os.environ["DAGSTER_HOME"]))
    return here


def record(here: Site, values: dict[str, str]) -> None:
    """Keep connections for later commands of the same shop, readable by this user only, and set them now."""
    merged = {**recorded(here), **values}
    text = "".join(f"{name}={value}\n" for name, value in sorted(merged.items()))
    _write_private(here.environment_file, text)
    os.environ.update(values)


def recorded(here: Site) -> dict[str, str]:
    """The connections that the last run of this shop used."""
    if not here.environment_file.exists():
        return {}
    lines = here.environment_file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _own(name: str) -> Source:
    """The source that declares the shop `name`. Raises SpecError if none does."""
    from ingestion import spec  # costs start-up time that the examples need not pay

    declared = {one.name: one for one in spec.declared() if one.name != EXAMPLE_SOURCE}
    shops = [*EXAMPLES, *(one.name for one in declared.values() if one.shop)]
    if name in shops:
        return declared[name]
    if name in declared:
        raise SpecError("SHOP", f"source {name} is no shop", f"write `shop: true` into ingestion/sources/{name}.yml")
    near = difflib.get_close_matches(name, shops, 1)
    mend = f"did you mean {near[0]!r}? Choose" if near else "choose"
    raise SpecError("SHOP", f"{name!r} is no shop", f"{mend} one of: {', '.join(shops)}")


def _settings(here: Site) -> dict[str, str]:
    """What the marts and the clock are told of the shop."""
    shop = here.source.shop if here.source else None
    if here.source is None or shop is None:
        clock = {"WATERSHED_NOW": GROCER_NOW, "WATERSHED_FIRST_DAY": GROCER_FIRST_DAY}
        return {"SHOP_SOURCE": EXAMPLE_SOURCE, **(clock if here.shop == "completejourney" else {})}
    return {
        "SHOP_SOURCE": here.source.name,
        "SHOP_ID_TYPE": "varchar" if shop.ids == "text" else shop.ids,
        "HOLIDAY_COUNTRY": shop.holidays,
        **({"WATERSHED_NOW": shop.clock.isoformat()} if shop.clock else {}),
    }


def _salt(here: Site) -> str:
    path = here.home / "mask_salt"
    if not path.exists():
        _write_private(path, secrets.token_hex(32))
    return path.read_text().strip()


def _write_private(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


def _write_instance(home: Path) -> None:
    path, text = home / "dagster.yaml", DAGSTER % json.dumps(str(home / "history" / "runs"))
    if not path.exists() or path.read_text() != text:
        home.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
