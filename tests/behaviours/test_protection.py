"""What must not leave the source does not: dropped columns, masked values."""

import hashlib
from pathlib import Path

import boto3
import pytest
from trial_source import SALT, Trial, on_ceph, on_folder

from ingestion import load
from lake import commit, read, verify
from lake.errors import SpecError

EMAIL = "grace.hopper@navy.example"
CARD = "4929-1234-5678-9012"


def _bytes_below(trial: Trial) -> dict[str, bytes]:
    """All objects of the lake, whatever they are."""
    if not trial.lake.on_s3:
        return {str(path): path.read_bytes() for path in Path(trial.lake.root).rglob("*") if path.is_file()}
    objects = boto3.resource("s3").Bucket(trial.lake.bucket).objects.all()
    return {entry.key: entry.get()["Body"].read() for entry in objects}


def _plant(trial: Trial) -> None:
    trial.sql("alter table orders add card_number text")
    trial.orders(5)
    trial.sql("update orders set customer_email = %s, card_number = %s", [EMAIL, CARD])


@on_ceph
def test_masked_and_dropped_values_are_nowhere_in_the_lake(trial: Trial) -> None:
    trial.declare(mask={"customer_email": "sha256"}, drop=["card_number"], history=True, partition=None)
    _plant(trial)
    trial.sql("alter table orders drop constraint orders_pkey")
    trial.order(5, customer_email=EMAIL, card_number=CARD, updated_at="2020-01-01")
    assert trial.run().taken.quarantined == 1
    trial.sql("update orders set customer_email = 'x' || customer_email, updated_at = clock_timestamp()")
    trial.sql("delete from orders where order_id = 1")
    trial.run()
    files = _bytes_below(trial)
    assert any(name.endswith(".parquet") for name in files)
    assert any("quarantine/trial/orders" in name for name in files)
    for name, content in files.items():
        assert EMAIL.encode() not in content, name
        assert CARD.encode() not in content, name
        if "_delta_log" not in name:  # the log tells the declaration that a load was made with
            assert b"card_number" not in content, name
    for zone in ("raw", "processed", "quarantine"):
        assert "card_number" not in read.columns(commit.table(trial.lake, trial.address(zone)))


@on_folder
def test_the_planted_values_are_found_where_nothing_protects_them(trial: Trial) -> None:
    _plant(trial)
    trial.run()
    files = _bytes_below(trial).values()
    assert any(EMAIL.encode() in content for content in files)
    assert any(CARD.encode() in content for content in files)


@on_folder
def test_a_column_that_is_dropped_later_is_taken_out_of_all_that_the_lake_holds(trial: Trial) -> None:
    trial.declare(history=True, contract={"types": "discard_value"})
    _plant(trial)
    trial.run()
    trial.sql("alter table orders alter card_number type json using to_json(card_number)")
    trial.sql("update orders set updated_at = clock_timestamp() where order_id = 2")
    trial.run()
    before = trial.rows("order_id, customer_email, amount")
    trial.declare(drop=["card_number"])
    trial.run()
    for zone, suffix in (("raw", ""), ("processed", ""), ("processed", "_history"), ("quarantine", "")):
        delta = commit.table(trial.lake, trial.address(zone, suffix))
        if delta is None:
            continue
        assert "card_number" not in read.columns(delta), zone
        for path in delta.file_uris():
            content = Path(path).read_bytes()
            assert CARD.encode() not in content, path
    assert trial.rows("order_id, customer_email, amount") == before
    trial.assert_same()
    about = load.subject(trial.source, trial.table)
    raw = commit.table(trial.lake, about.at("raw"))
    assert raw is not None
    for (load_id,) in set(trial.rows("_load_id", "raw")):
        assert verify.verify(trial.lake, about, load_id).difference is None
    versions = trial.versions()
    assert trial.run().taken.rows_read == 0
    assert trial.versions() == versions


@on_folder
def test_a_masked_value_is_the_salted_hash_and_null_stays_null(trial: Trial) -> None:
    trial.declare(mask={"customer_email": "sha256"})
    trial.order(1, customer_email=EMAIL)
    trial.order(2)
    trial.run()
    hashed = hashlib.sha256((SALT + EMAIL).encode()).hexdigest()
    assert trial.rows("order_id, customer_email") == [(1, hashed), (2, None)]


@on_folder
def test_a_masked_key_is_compared_masked(trial: Trial) -> None:
    trial.declare(mask={"order_id": "sha256"})
    trial.orders(30)
    trial.run()
    trial.sql("delete from orders where order_id = 7")
    trial.sql("update orders set amount = 70, updated_at = clock_timestamp() where order_id = 8")
    taken = trial.run().taken
    assert (taken.inserted, taken.updated, taken.deleted) == (0, 1, 1)
    assert len(trial.rows()) == 29


@on_folder
def test_without_a_salt_nothing_is_loaded(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATERSHED_MASK_SALT")
    trial.declare(mask={"customer_email": "sha256"})
    trial.order(1, customer_email=EMAIL)
    with pytest.raises(SpecError, match="WATERSHED_MASK_SALT is not set; set it to a long random text"):
        trial.run()
    assert trial.version("raw") == -1
