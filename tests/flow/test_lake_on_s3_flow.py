"""The same command with the lake on an S3 server, and nothing else changed."""

import datetime
import os
from collections.abc import Iterator

import boto3
import pytest
from fix_servers import S3_NAMES, address
from fix_site import Said, Site, assert_lake_equals_source, assert_sales_equal_source, opened

from shop import retail


def test_a_run_with_the_lake_on_s3_ends_as_well_as_one_on_a_folder(loaded, site):
    assert loaded.code == 0, loaded.text
    assert loaded.err == ""
    assert_lake_equals_source(site)
    assert_sales_equal_source(site)


def test_all_of_the_lake_is_below_the_prefix_and_nothing_of_it_on_this_machine(loaded, site):
    keys = [entry.key for entry in boto3.resource("s3").Bucket(bucket_of(site)).objects.all()]
    zones = {tuple(key.split("/")[:3]) for key in keys}
    assert zones == {("a", "prefix", name) for name in ("raw", "processed", "curated", "_server.json")}
    assert not (site.place / "lake").exists()
    assert not list(site.home.rglob("*.parquet"))


def test_sql_reads_what_a_run_on_s3_has_published(loaded, site):
    said = site.watershed("sql", "-c", "select count(*) from marts.fct_sales")
    assert (said.code, said.err) == (0, "")
    assert str(site.source("select count(*) from order_items")[0][0]) in said.out


def test_the_status_of_a_lake_on_s3_names_it_and_its_rows(loaded, site):
    said = site.watershed("status")
    assert said.code == 0, said.text
    assert site.lake_root in said.out
    assert f"{site.source('select count(*) from orders')[0][0]:,}" in said.out


def test_no_secret_of_the_store_is_written_or_said(loaded, site):
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    assert secret not in loaded.text
    for path in site.home.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def bucket_of(site: Site) -> str:
    return site.lake_root.removeprefix("s3://").split("/")[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        variables = {name: address(name) for name in S3_NAMES}
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        name = f"t-{os.urandom(6).hex()}"
        bucket = boto3.resource("s3").create_bucket(Bucket=name)
        try:
            root = f"s3://{name}/a/prefix"
            with opened(tmp_path_factory.mktemp("s3"), lake_root=root, LAKE_ROOT=root, **variables) as site:
                yield site
        finally:
            bucket.objects.all().delete()
            bucket.delete()


@pytest.fixture(scope="module")
def loaded(site) -> Said:
    """A run on a shop of five weeks: each day is objects of its own, and a year of them would only be slow."""
    until = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=3)
    retail.create(site.shop_dsn, scale=0.05, until=until, days=35, say=lambda _: None)
    return site.watershed("run", "--scale", "0.05")
