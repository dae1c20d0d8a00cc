"""The anomaly check on real series with labelled anomalies: precision and recall beside three standard deviations.

`python -m benchmarks.anomalies FOLDER`, where FOLDER holds the series of the Numenta Anomaly Benchmark (`*/*.csv.gz`)
and its `combined_windows.json`. The figures do not depend on the machine.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from lake import duck
from metrics import anomaly, anomaly_spec
from metrics.anomaly_spec import Watch

_SECOND = timedelta(seconds=1)
FAMILIES = {"realAWSCloudwatch": "host_metrics"}  # all others are web_metrics


@dataclass(frozen=True)
class Score:
    """How the incidents of one or more series compare with the labelled windows."""

    windows: int = 0
    found: int = 0
    """Windows in which something was odd."""
    incidents: int = 0
    right: int = 0
    """Incidents that touch a window."""

    def __add__(self, other: "Score") -> "Score":
        """Both together."""
        return Score(
            self.windows + other.windows,
            self.found + other.found,
            self.incidents + other.incidents,
            self.right + other.right,
        )

    @property
    def recall(self) -> float:
        """Share of the windows that were found."""
        return self.found / self.windows if self.windows else 0.0

    @property
    def precision(self) -> float:
        """Share of the incidents that were right."""
        return self.right / self.incidents if self.incidents else 0.0

    def __str__(self) -> str:
        """`recall 2/3 = 0.67, precision 2/2 = 1.00`."""
        recall = f" = {self.recall:.2f}" if self.windows else ""
        precision = f" = {self.precision:.2f}" if self.incidents else ""
        return f"recall {self.found}/{self.windows}{recall}, precision {self.right}/{self.incidents}{precision}"


Scores = dict[tuple[str, str], Score]  # (family, series)


def scores(folder: Path, quiet: timedelta | None = None) -> tuple[Scores, Scores]:
    """Each series' score by the check as declared for its hypertable, and by three standard deviations."""
    declared = anomaly_spec.read()
    watches = {watch.hypertable: watch for watch in declared.watches}
    hours = _hours(folder)
    ours: Scores = {}
    plain: Scores = {}
    for family in sorted({str(name) for name in hours.column("family").unique().to_pylist()}):
        values = hours.filter(pa.compute.equal(hours["family"], family)).drop_columns(["family"])
        watch = watches[FAMILIES.get(family, "web_metrics")]
        labels = _labels(folder, family)
        odd = anomaly.judged(values, watch)
        ours |= _compared(family, odd.filter(odd["is_odd"]), labels, quiet or declared.quiet)
        plain |= _compared(family, _three_sigma(values, watch), labels, quiet or declared.quiet)
    return ours, plain


def total(scores: Scores, family: str | None = None) -> Score:
    """All series together, or those of one family."""
    return sum((score for key, score in scores.items() if family in (None, key[0])), Score())


def main(arguments: list[str] | None = None) -> None:
    """Print the score of each series, of each family and of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    ours, plain = scores(parser.parse_args(arguments).folder)
    out = sys.stdout.write
    for (family, series), score in ours.items():
        out(f"{family}/{series:32} {score}\n")
    out("\n")
    for family in sorted({key[0] for key in ours}):
        out(f"{family:20} check: {total(ours, family)}   3 sigma: {total(plain, family)}\n")
    out(f"{'all':20} check: {total(ours)}   3 sigma: {total(plain)}\n")


def _hours(folder: Path) -> pa.Table:
    """Average and maximum of every hour, as the roll-ups of host_metrics and web_metrics hold them."""
    with duck.connect() as connection:
        connection.execute("CREATE TABLE points (family VARCHAR, series VARCHAR, measured_at TIMESTAMP, value DOUBLE)")
        for path in sorted(folder.glob("*/*.csv.gz")):
            # One at a time: a glob over files that end their lines differently loses some of them without a word.
            connection.execute(
                "INSERT INTO points SELECT ?, ?, timestamp, value FROM read_csv(?, header = true, auto_detect = false,"
                " columns = {'timestamp': 'TIMESTAMP', 'value': 'DOUBLE'})",
                [path.parent.name, path.name.removesuffix(".csv.gz"), str(path)],
            )
        found: pa.Table = connection.execute(
            "UNPIVOT (SELECT family, series, date_trunc('hour', measured_at)::TIMESTAMPTZ AS measured_at,"
            " avg(value) AS value_avg, max(value) AS value_max FROM points GROUP BY ALL)"
            " ON value_avg, value_max INTO NAME name VALUE value"
        ).to_arrow_table()
    return found.select(["family", "series", "name", "measured_at", "value"])


def _labels(folder: Path, family: str) -> pa.Table:
    labels = json.loads((folder / "combined_windows.json").read_text("utf-8"))
    rows = [
        {"series": Path(name).name.removesuffix(".csv"), "start": start, "stop": stop}
        for name, windows in labels.items()
        if name.startswith(f"{family}/")
        for start, stop in [*windows, (None, None)]
    ]
    return pa.Table.from_pylist(rows)


def _three_sigma(values: pa.Table, watch: Watch) -> pa.Table:
    """What lies more than three standard deviations from the mean of the history, with as much of it as we ask for."""
    history, least = (
        f"INTERVAL '{seconds} seconds'" for seconds in (watch.history // _SECOND, watch.least_days * 86400)
    )
    with duck.connect() as connection:
        connection.register("given", values)
        found: pa.Table = connection.execute(
            "SELECT series, measured_at FROM (SELECT *, avg(value) OVER past AS mean, stddev_samp(value) OVER past AS"
            " sigma, measured_at - min(measured_at) OVER (PARTITION BY series) AS age FROM given WINDOW past AS"
            f" (PARTITION BY series, name ORDER BY measured_at RANGE BETWEEN {history} PRECEDING AND"
            f" INTERVAL '1 microsecond' PRECEDING)) WHERE age >= {least} AND abs(value - mean) > 3 * sigma"
        ).to_arrow_table()
    return found


def _compared(family: str, odd: pa.Table, labels: pa.Table, quiet: timedelta) -> Scores:
    incidents = anomaly.runs(pa.table({"cause": odd["series"], "measured_at": odd["measured_at"]}), quiet)
    with duck.connect() as connection:
        connection.register("incidents", incidents)
        connection.register("labels", labels)
        rows = connection.execute(_SCORE).fetchall()
    return {(family, name): Score(*counts) for name, *counts in rows}


# An incident lasts from the start of its first hour to the end of its last.
_SCORE = """
WITH
windows AS (
    SELECT row_number() OVER () AS number, series, start::TIMESTAMPTZ AS start, stop::TIMESTAMPTZ AS stop
    FROM labels WHERE start IS NOT NULL
),
told AS (
    SELECT row_number() OVER () AS number, cause AS series, began, ended + INTERVAL 1 HOUR AS ended FROM incidents
),
hits AS (
    SELECT series, windows.number AS window, told.number AS incident
    FROM windows JOIN told USING (series) WHERE began <= stop AND ended > start
)
SELECT series,
    (SELECT count(*) FROM windows WHERE windows.series = named.series),
    (SELECT count(DISTINCT hits.window) FROM hits WHERE hits.series = named.series),
    (SELECT count(*) FROM told WHERE told.series = named.series),
    (SELECT count(DISTINCT incident) FROM hits WHERE hits.series = named.series)
FROM (SELECT DISTINCT series FROM labels) AS named
ORDER BY series
"""

if __name__ == "__main__":
    main()
