"""The prompt on a lake in a bucket: its doors are shut, and the lake's tables are there all the same."""

import datetime
import io
from pathlib import Path

import pyarrow as pa
import pytest
import small_warehouse

from lake import commit
from lake.layout import Address, Lake
from warehouse import prompt

ORDERS = Address("processed", "shop", "orders")
DAY = datetime.date(2026, 1, 5)


def ask(command: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return prompt.run(command, form="csv", out=out, err=err), out.getvalue(), err.getvalue()


def test_tables_in_a_bucket_are_read_and_nothing_else_there(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(f"s3://{bucket}/lake")
    monkeypatch.setenv("LAKE_ROOT", lake.root)
    monkeypatch.setenv("WAREHOUSE_ROOT", str(tmp_path))
    monkeypatch.delenv("METRICS_READER_DSN", raising=False)
    small_warehouse.publish(tmp_path)
    commit.append(lake, ORDERS, pa.table({"order_id": [1, 2], "_day": [DAY, DAY]}).to_reader(), {}, base=None)
    assert ask("select count(*) as n from shop.orders") == (0, "n\n2\n", "")
    code, out, err = ask(f"select o.*, r.* from shop.orders as o, read_parquet('s3://{bucket}/other/*.parquet') as r")
    assert (code, out) == (1, "")
    assert "no other file or server" in err
