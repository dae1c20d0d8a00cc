"""Dropped files: each taken once, whatever happens to it or to the load; bad ones told in one sentence."""

import gzip
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drops import VARIABLE, Drops

from ingestion import spec
from ingestion.connectors.files import Files
from lake.errors import AccessDenied, PermanentError, SchemaDrift, SourceUnavailable, SpecError
from lake.layout import Lake

ONE = "trip_id,fare,picked_up_at\n1,9.50,2026-01-05 08:00:00\n2,4.25,2026-01-06 09:30:00\n"
TWO = "trip_id,fare,picked_up_at\n3,7.00,2026-01-07 10:00:00\n"


@pytest.fixture
def drops(tmp_path: Path) -> Drops:
    (tmp_path / "drops").mkdir()
    return Drops(str(tmp_path / "drops"), Lake(str(tmp_path / "lake")))


def test_each_file_is_read_once(drops: Drops) -> None:
    drops.drop("one.csv", ONE)
    assert drops.run().taken.inserted == 2
    drops.drop("two.csv", TWO)
    loaded = drops.run()
    assert (loaded.rows_read, loaded.taken.inserted) == (1, 1)
    assert drops.run().rows_read == 0
    assert drops.rows("trip_id, fare, _file, _row") == [
        (1, 9.5, "one.csv", 1),
        (2, 4.25, "one.csv", 2),
        (3, 7.0, "two.csv", 1),
    ]


def test_the_same_holds_on_s3_with_the_lake_beside_them(bucket: str) -> None:
    drops = Drops(f"s3://{bucket}/drops", Lake(f"s3://{bucket}/lake"), files={"path": "*/*.csv*"})
    drops.drop("a/one.csv", ONE)
    drops.drop("a/two.csv.gz", gzip.compress(TWO.encode()))
    drops.drop("deep/er/three.csv", TWO)
    assert drops.run().taken.inserted == 3
    assert drops.run().rows_read == 0
    drops.drop("a/one.csv", ONE.replace("9.50", "9.75"))
    taken = drops.run().taken
    assert (taken.rows_read, taken.inserted, taken.updated) == (2, 0, 1)
    assert drops.rows("fare") == [(4.25,), (7.0,), (9.75,)]


def test_a_partitioned_table_of_files_lies_by_the_day_of_its_rows(drops: Drops) -> None:
    drops.declared = {"partition": "day(picked_up_at)"}
    drops.drop("one.csv", ONE)
    drops.drop("two.csv", TWO)
    drops.run()
    assert drops.rows("year, month, day, trip_id") == [
        ("2026", "01", "05", 1),
        ("2026", "01", "06", 2),
        ("2026", "01", "07", 3),
    ]
    session = Files(drops.source)
    assert [str(day) for day in session.extent(drops.table) or ()] == ["2026-01-05", "2026-01-07"]
    session.close()


def test_a_file_that_is_written_again_as_it_was_brings_nothing(drops: Drops) -> None:
    drops.drop("one.csv", ONE)
    drops.run()
    drops.drop("one.csv", ONE)
    assert drops.run().rows_read == 0


def test_a_renamed_file_is_the_same_file(drops: Drops) -> None:
    drops.drop("one.csv", ONE)
    drops.run()
    Path(drops.root, "one.csv").rename(Path(drops.root, "old.csv"))
    assert drops.run().rows_read == 0
    assert {name for (name,) in drops.rows("_file")} == {"one.csv"}
    assert drops.run().rows_read == 0


def test_a_copy_is_another_file(drops: Drops) -> None:
    drops.drop("one.csv", ONE)
    drops.run()
    drops.drop("copy.csv", ONE)
    assert drops.run().taken.inserted == 2


def test_rotated_files_keep_all_their_rows(drops: Drops) -> None:
    for turn in range(3):
        for number in range(turn, 0, -1):
            older = "log.csv" if number == 1 else f"log.{number - 1}.csv"
            Path(drops.root, older).rename(Path(drops.root, f"log.{number}.csv"))
        drops.drop("log.csv", f"trip_id\n{turn + 1}\n{turn + 1}0\n")
        assert drops.run().taken.inserted == 2
    assert [number for (number,) in drops.rows("trip_id")] == [1, 2, 3, 10, 20, 30]


def test_a_changed_file_replaces_its_rows(drops: Drops) -> None:
    drops.declared = {"deletes": "sweep"}
    drops.drop("one.csv", ONE)
    drops.drop("two.csv", TWO)
    drops.run()
    drops.drop("one.csv", "trip_id,fare,picked_up_at\n1,9.95,2026-01-05 08:00:00\n")
    taken = drops.run().taken
    assert (taken.rows_read, taken.inserted, taken.updated, taken.deleted) == (1, 0, 1, 1)
    assert drops.rows("trip_id, fare") == [(1, 9.95), (3, 7.0)]


def test_a_vanished_file_leaves_its_rows(drops: Drops) -> None:
    drops.drop("one.csv", ONE)
    drops.drop("two.csv", TWO)
    drops.run()
    Path(drops.root, "one.csv").unlink()
    assert drops.run().taken.deleted == 0
    drops.drop("one.csv", ONE)
    assert drops.run().rows_read == 0
    assert len(drops.rows()) == 3


def test_a_vanished_file_takes_its_rows_along_where_deletes_are_swept(drops: Drops) -> None:
    drops.declared = {"deletes": "sweep"}
    drops.drop("one.csv", ONE)
    drops.drop("two.csv", TWO)
    drops.run()
    Path(drops.root, "one.csv").unlink()
    assert drops.run().taken.deleted == 2
    drops.drop("one.csv", ONE)
    assert drops.run().taken.inserted == 2
    assert len(drops.rows()) == 3


def test_with_a_natural_key_the_last_file_has_the_last_word(drops: Drops) -> None:
    drops.declared = {"key": ["trip_id"], "drop": ["_file", "_row"]}
    drops.drop("one.csv", ONE)
    drops.run()
    drops.drop("two.csv", ONE.replace("4.25", "5.00"))
    taken = drops.run().taken
    assert (taken.rows_read, taken.inserted, taken.updated) == (2, 0, 1)
    assert drops.rows("trip_id, fare") == [(1, 9.5), (2, 5.0)]


def test_files_that_are_being_written_are_left_for_later(drops: Drops) -> None:
    drops.files = {"settle_s": 60}
    drops.drop("one.csv", ONE)
    os.utime(Path(drops.root, "one.csv"), (time.time() - 120,) * 2)
    drops.drop("two.csv", TWO)
    drops.drop(".three.csv", TWO)
    drops.drop("four.csv.part", TWO)
    assert drops.run().rows_read == 2
    os.utime(Path(drops.root, "two.csv"), (time.time() - 120,) * 2)
    assert drops.run().rows_read == 1


def test_a_file_that_changes_while_it_is_read_stops_the_load_and_harms_nothing(
    drops: Drops, monkeypatch: pytest.MonkeyPatch
) -> None:
    drops.drop("one.csv", ONE)
    chunks = Files.chunks

    def slow(self: Files, *given: object) -> object:
        found = chunks(self, *given)  # type: ignore[arg-type]
        drops.drop("one.csv", ONE + "3,1.00,2026-01-08 00:00:00\n")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Files, "chunks", slow)
        with pytest.raises(SourceUnavailable, match=r"file one\.csv: has changed while it was read; run again"):
            drops.run()
    assert drops.rows(zone="raw") == []
    assert drops.run().taken.inserted == 3


KILLED = """
import os, signal, sys
from ingestion import load
from ingestion.connectors.files import Files
from ingestion.spec import Source
from lake.layout import Lake
read = Files.read
def dying(self, table, shape, window, chunk):
    if chunk.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    yield from read(self, table, shape, window, chunk)
Files.read = dying
source = Source.model_validate_json(sys.argv[1])
load.changes(Lake(sys.argv[2]), source, source.tables[0])
"""


def test_a_killed_load_goes_on_where_it_was(drops: Drops) -> None:
    for number in range(4):
        drops.drop(f"{number}.csv", f"trip_id\n{number + 1}\n{number + 1}0\n")
    source = drops.source.model_copy(update={"max_connections": 1})
    said = subprocess.run(
        [sys.executable, "-c", KILLED, source.model_dump_json(by_alias=True), drops.lake.root],
        env=os.environ,
        cwd=Path(spec.__file__).parents[1],
        check=False,
    )
    assert said.returncode == -9
    assert drops.rows(zone="raw") == []
    loaded = drops.run()
    assert (loaded.rows_read, loaded.chunks_kept, loaded.taken.inserted) == (4, 2, 8)
    assert drops.run().rows_read == 0
    assert [number for (number,) in drops.rows("trip_id")] == [1, 2, 3, 4, 10, 20, 30, 40]


def test_files_that_arrive_between_a_kill_and_the_next_load_are_not_forgotten(drops: Drops) -> None:
    for number in range(4):
        drops.drop(f"{number}.csv", f"trip_id\n{number}\n")
    source = drops.source.model_copy(update={"max_connections": 1})
    command = [sys.executable, "-c", KILLED, source.model_dump_json(by_alias=True), drops.lake.root]
    subprocess.run(command, env=os.environ, cwd=Path(spec.__file__).parents[1], check=False)
    drops.drop("00.csv", "trip_id\n99\n")
    drops.run()
    assert [number for (number,) in drops.rows("trip_id")] == [0, 1, 2, 3, 99]


def test_what_is_remembered_of_many_files_stays_small(drops: Drops) -> None:
    from ingestion.connectors import file_bookmark as bookmarks

    names = [f"trips/yellow_{number:06}.csv.gz" for number in range(20_000)]
    files = {name: bookmarks.Taken(10_000, f"{hash(name)}", f"{hash(name):016x}"[-16:], name) for name in names}
    text = bookmarks.written(bookmarks.Bookmark(files, {"a": "BIGINT"}))
    assert bookmarks.read(text) == bookmarks.Bookmark(files, {"a": "BIGINT"})
    assert len(text) < 45 * len(files)


def test_no_file_yet_is_one_sentence(drops: Drops) -> None:
    with pytest.raises(SchemaDrift, match=r"^source drops, table trips: no file matches \*\.csv yet; drop one"):
        drops.run()


def test_a_missing_folder_may_come_back(drops: Drops) -> None:
    Path(drops.root).rmdir()
    with pytest.raises(SourceUnavailable, match=f"there is no folder .*; mount or make it, or correct {VARIABLE}"):
        drops.run()


def test_an_unset_variable_is_one_sentence(drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(SpecError, match=f"{VARIABLE} is not set; set {VARIABLE} to a folder or to s3://bucket/prefix"):
        drops.run()


def test_a_bucket_that_is_not_there_is_one_sentence(bucket: str, tmp_path: Path) -> None:
    drops = Drops(f"s3://{bucket}-none/drops", Lake(str(tmp_path / "lake")))
    with pytest.raises(PermanentError, match=f"there is no bucket {bucket}-none"):
        drops.run()


def test_wrong_credentials_are_one_sentence(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    drops = Drops(f"s3://{bucket}/drops", Lake(str(tmp_path / "lake")))
    with pytest.raises(AccessDenied, match="the S3 server refuses these credentials") as raised:
        drops.run()
    assert "wrong" not in str(raised.value).split("; ")[0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", gzip.compress(ONE.encode() * 100, mtime=0)[:-30], "is cut short or damaged; drop it again, whole"),
        ("a.csv", ONE + "3," + '"' + "x\n" * 10_000_000, "has a record of more than 8 MB"),
        ("a.csv", "a,b\n" + "1,2,3\n" * 100_001, "has 100,000 lines in a row with more or fewer fields than"),
        ("a.parquet", b"PAR1 is all there is", "is no whole Parquet file"),
        ("a.json", "[{\"a\": 1}, {\"a\": ", "is no JSON"),
        ("a.xlsx", "PK", "the name does not tell the format; declare `files: {format: csv}`"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(drops: Drops, name: str, content: str | bytes, said: str) -> None:
    drops.files = {"path": "a.*"}
    drops.drop(name, content)
    with pytest.raises((PermanentError, SpecError)) as raised:
        drops.run()
    assert f"file {name}: {said}" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert drops.rows(zone="raw") == []


def test_a_declared_column_that_no_file_has_is_one_sentence(drops: Drops) -> None:
    drops.declared = {"columns": {"tip": "decimal(8,2)"}}
    drops.drop("one.csv", ONE)
    with pytest.raises(SchemaDrift, match='column "tip" is declared but missing at the source'):
        drops.run()


def test_a_partition_of_texts_says_what_to_declare(drops: Drops) -> None:
    drops.declared = {"partition": "day(picked_up_at)"}
    drops.drop("one.csv", "trip_id,picked_up_at\n1,05/01/2026\n")
    with pytest.raises(PermanentError, match=r"declare `columns: \{picked_up_at: timestamp\}`"):
        drops.run()
    drops.declared |= {"columns": {"picked_up_at": "timestamp"}}
    drops.drop("two.csv", "trip_id,picked_up_at\n2,2026-01-06 00:00:00\n")
    assert drops.run().taken.inserted == 1
    assert len(drops.rows(zone="quarantine")) == 1
