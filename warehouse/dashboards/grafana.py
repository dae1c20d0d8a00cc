"""The files that Grafana reads: one JSON model for each dashboard, put together from its description.

They are written by `make generate`; the data source is named by the uid that `provisioning/datasources` gives it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from warehouse.dashboards.described import TIMED, Dashboard, Panel, Row, Variable, dashboards

SOURCE = {"type": "grafana-postgresql-datasource", "uid": "watershed-metrics"}
COLOURS = {"good": "green", "warn": "orange"}
UNITS = {"bytes": "decbytes"}  # in powers of ten, as on the page; Grafana's `bytes` are of 1,024
COLUMNS = 24  # of Grafana's grid
SCHEMA_VERSION = 39  # Grafana 11; newer ones lift it when they load the file
TYPES = {"lines": "timeseries", "bars": "timeseries", "band": "timeseries", "gauge": "bargauge"}


def files(folder: Path) -> dict[Path, str]:
    """Every dashboard's file below `folder`, and what it must hold."""
    return {folder / f"{it.uid.removeprefix('watershed-')}.json": text(it) for it in dashboards()}


def text(dashboard: Dashboard) -> str:
    """A dashboard's file."""
    return json.dumps(model(dashboard), indent=2, ensure_ascii=False) + "\n"


def model(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard in Grafana's words; it bears a uid and no id, so that any Grafana can take it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["watershed"],
        "schemaVersion": SCHEMA_VERSION,
        "timezone": "utc",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m" if dashboard.clock == "platform" else "",
        "time": {"from": f"now-{dashboard.days}d", "to": "now"},
        "annotations": {"list": []},
        "links": [
            {
                "title": "Watershed",
                "type": "dashboards",
                "tags": ["watershed"],
                "asDropdown": True,
                "includeVars": False,
                "keepTime": True,
            }
        ],
        "templating": {"list": [_variable(it) for it in dashboard.variables]},
        "panels": list(_panels(dashboard.rows)),
    }


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": SOURCE,
        "query": variable.sql.strip(),
        "definition": variable.sql.strip(),
        "refresh": 2,  # whenever the time changes
        "sort": 0,  # as the query has it
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    number = y = 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        y, x, tallest = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            yield _panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height})
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": number,
        "type": TYPES.get(panel.kind, panel.kind),
        "title": panel.title,
        "description": panel.say,
        "datasource": SOURCE,
        "gridPos": place,
        "interval": panel.every,
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "editorMode": "code",
                "format": "time_series" if panel.kind in TIMED else "table",
                "rawQuery": True,
                "rawSql": panel.sql.strip(),
            }
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": list(_overrides(panel))},
        "options": _options(panel),
    }
    if panel.repeat:
        made |= {
            "repeat": panel.repeat,
            "repeatDirection": "h",
            "maxPerRow": 3,
            "title": f"{panel.title}, {panel.repeat} ${panel.repeat}",
        }
    return made


def _defaults(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": UNITS.get(panel.unit, panel.unit), "color": {"mode": "palette-classic"}}
    if panel.kind in TIMED:
        found["custom"] = _drawing(panel)
    if panel.kind in {"stat", "gauge"}:
        found |= {"color": {"mode": "thresholds"}, "thresholds": {"mode": "absolute", "steps": [_step("blue", None)]}}
    if panel.marks:
        found["mappings"] = [
            {
                "type": "value",
                "options": {
                    word: {"color": COLOURS[mark], "index": place, "text": word}
                    for place, (word, mark) in enumerate(panel.marks.items())
                },
            }
        ]
    return found


def _step(colour: str, value: float | None) -> dict[str, Any]:
    return {"color": colour, "value": value}


def _drawing(panel: Panel) -> dict[str, Any]:
    """Lines are broken where a bucket is missing, bars stand on each other, a band is filled down to its low line."""
    is_bars = panel.kind == "bars"
    return {
        "drawStyle": "bars" if is_bars else "line",
        "lineWidth": 1 if is_bars else 2,
        "fillOpacity": 80 if is_bars else 0,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if is_bars else "none", "group": "A"},
    }


def _overrides(panel: Panel) -> Iterator[dict[str, Any]]:
    for column, unit in panel.units.items():
        yield _override(column, {"unit": UNITS.get(unit, unit)})
    if panel.kind == "band":
        yield _override(
            "low", {"custom.lineWidth": 0, "custom.hideFrom": {"legend": True, "tooltip": False, "viz": False}}
        )
        yield _override("high", {"custom.lineWidth": 0, "custom.fillBelowTo": "low", "custom.fillOpacity": 25})
    if panel.kind == "table" and panel.marks:
        yield _override("State", {"custom.cellOptions": {"type": "color-text"}})


def _override(column: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind in TIMED:
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if panel.kind == "table":
        return {
            "showHeader": True,
            "cellHeight": "sm",
            "footer": {"show": False, "reducer": ["sum"], "countRows": False},
        }
    each = {"calcs": ["lastNotNull"], "fields": "", "values": panel.kind == "gauge"}
    if panel.kind == "gauge":
        return {"reduceOptions": each, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": True}
    return {"reduceOptions": each, "orientation": "auto", "colorMode": "value", "graphMode": "none", "textMode": "auto"}
