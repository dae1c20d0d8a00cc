"""What a server refuses is told in one sentence of the platform, with no password in it."""

import traceback
from datetime import date

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lake.errors import AccessDenied, PlatformError, SourceUnavailable, SpecError
from shop import retail

SECRET = "hunter2-and-more"


def refusal(dsn: str) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        retail.create(dsn, scale=0.1, until=date(2026, 6, 20), days=5, say=lambda _: None)
    password = conninfo_to_dict(dsn).get("password") if "=" in dsn or "//" in dsn else None
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert not password or str(password) not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_server_that_is_down_is_unavailable():
    error = refusal(f"postgresql://watershed:{SECRET}@127.0.0.1:9/shop")
    assert isinstance(error, SourceUnavailable)
    assert str(error).startswith("PostgreSQL 127.0.0.1:9/shop as watershed: the server does not answer")


def test_a_wrong_password_is_denied(shop_server):
    assert isinstance(refusal(make_conninfo(shop_server, password=SECRET)), AccessDenied)


def test_an_unknown_role_is_denied(shop_server):
    assert isinstance(refusal(make_conninfo(shop_server, user="nobody_here", password=SECRET)), AccessDenied)


def test_a_missing_database_is_named(shop_server):
    error = refusal(make_conninfo(shop_server, dbname="t_shop_none"))
    assert isinstance(error, SpecError)
    assert "/t_shop_none as " in str(error)
    assert "there is no such database; create it, or correct SHOP_DSN" in str(error)


def test_an_address_that_is_none_is_not_repeated():
    with pytest.raises(SpecError, match="it is no PostgreSQL address") as caught:
        retail.create(f"{SECRET} nonsense", until=date(2026, 6, 20), say=lambda _: None)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_role_that_may_not_create_tables_is_denied_and_leaves_nothing(empty_dsn, ask):
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("revoke create on schema public from pg_database_owner")
    error = refusal(empty_dsn)
    assert isinstance(error, AccessDenied)
    assert "permission denied for schema public; grant the role that right" in str(error)
    assert ask(empty_dsn, "select count(*) from pg_tables where schemaname in ('public', 'shop_clock')") == [(0,)]
