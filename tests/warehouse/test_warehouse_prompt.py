"""The SQL prompt, as a command, from a pipe and at a terminal."""

import io

import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from warehouse import prompt, publish, terminal

COUNT = "select count(*) as lines from fct_sales"


@pytest.fixture(scope="module", autouse=True)
def published(built):
    publish.publish()
    return built


def ask(command=None, stdin="", **options):
    out, err = io.StringIO(), io.StringIO()
    code = prompt.run(command, stdin=io.StringIO(stdin), out=out, err=err, **options)
    return code, out.getvalue(), err.getvalue()


def test_a_command_is_answered_in_a_box():
    code, out, err = ask(COUNT)
    assert (code, err) == (0, "")
    assert "│     7 │" in out


def test_csv_is_complete_and_plain():
    assert ask("select order_id, net_amount from fct_sales where order_id = 1 order by 2", output="csv")[1] == (
        "order_id,net_amount\n1,2.00\n1,2.50\n"
    )


def test_statements_come_through_a_pipe_until_the_first_error():
    code, out, err = ask(stdin=f"\\d\n{COUNT};\nselect nothing\nfrom fct_sales;\nselect 'never';")
    assert code == 1
    assert "metric_sensor_readings" in out
    assert "│     7 │" in out
    assert "never" not in out
    assert err.count("\n") == 1
    assert 'column "nothing" not found' in err


def test_columns_are_listed_with_their_meaning():
    out = ask(stdin="\\d marts.dim_store")[1]
    assert "IANA time zone of the store" in out
    assert ask(stdin="\\d nope")[1] == "There is no table nope.\n"


@pytest.mark.parametrize("statement", ["drop table fct_sales", "create table t as select 1", "delete from dim_date"])
def test_a_change_is_refused_in_a_clear_sentence(statement):
    assert ask(statement) == (
        1,
        "",
        "The warehouse is read-only: published versions never change; models are changed in dbt_project/.\n",
    )


def test_without_a_warehouse_the_way_out_is_named(tmp_path):
    code, _, err = ask(COUNT, root=tmp_path)
    assert code == 1
    assert err == f"{tmp_path}/warehouse.duckdb: no warehouse has been published yet; run `make run` first\n"


def test_the_conversation_goes_on_after_an_error_and_takes_up_a_new_version(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    out, err = io.StringIO(), io.StringIO()
    with prompt.Session(out) as session, create_pipe_input() as keys:
        first = session.version
        publish.publish()
        keys.send_text("selec 1;\rselect count(*) as lines\rfrom fct_sales;\r\\q\r")
        assert terminal.converse(session, err, input=keys, output=DummyOutput()) == 0
        assert session.version.number == first.number + 1
    assert "syntax error" in err.getvalue()
    assert "A new version was published" in out.getvalue()
    assert "│     7 │" in out.getvalue()
    assert "from fct_sales;" in (tmp_path / ".watershed_history").read_text()
