"""The SQL prompt, as a command, from a file, from a pipe and at a terminal."""

import io
from pathlib import Path

import pytest
import small_warehouse
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from warehouse import prompt, terminal
from warehouse.output import Target
from warehouse.session import Session

COUNT = "select count(*) as lines from fct_sales"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return small_warehouse.only(tmp_path, monkeypatch)


def ask(command=None, stdin="", **options):
    out, err = io.StringIO(), io.StringIO()
    code = prompt.run(command, stdin=io.StringIO(stdin), out=out, err=err, **options)
    return code, out.getvalue(), err.getvalue()


def test_a_command_is_answered_in_a_box_with_rows_and_time():
    code, out, err = ask(COUNT)
    assert (code, err) == (0, "")
    assert "│     7 │" in out
    assert "(1 row, 0." in out


def test_null_is_visible_and_numbers_stand_at_the_right():
    out = ask("select null as gone, 5 as a_number, 'x' as some_word")[1]
    assert "│  NULL │        5 │ x         │" in out


def test_a_box_is_bounded_and_says_that_there_is_more():
    out = ask("select * from range(100000)")[1]
    assert out.count("\n") < 1100
    assert "(the first 1,000 rows of more" in out


def test_statements_come_through_a_pipe_until_the_first_error():
    code, out, err = ask(stdin=f"\\d\n{COUNT};\nselect nothing\nfrom fct_sales;\nselect 'never';")
    assert code == 1
    assert "metric_sensor_readings" in out
    assert "│     7 │" in out
    assert "never" not in out
    assert err.count("\n") == 1
    assert 'column "nothing" not found' in err


def test_statements_come_from_a_file(root):
    script = root / "question.sql"
    script.write_text(f"-- how many\n{COUNT};\n\\d dim_store\n")
    assert "│     7 │" in ask(file=script)[1]
    code, _, err = ask(file=root / "none.sql")
    assert (code, err) == (1, f"{root}/none.sql: No such file or directory; name a file with statements\n")


def test_columns_are_listed_with_their_meaning():
    out = ask(stdin="\\d marts.dim_store")[1]
    assert "IANA time zone of the store" in out
    assert "not null" in out
    assert ask(stdin="\\d nope")[1] == "There is no table nope.\n"


def test_tables_can_be_found_by_a_pattern():
    out = ask(stdin="\\dt dim_*", form="csv")[1]
    assert out == "schema,table,rows,description\nmarts,dim_date,31,\nmarts,dim_store,2,One row per store\n"
    assert ask(stdin="\\dt nope*")[1] == "No table matches nope*.\n"


def test_schemas_and_databases_are_listed():
    assert ask(stdin="\\dn", form="csv")[1] == "schema,tables\nmarts,4\nmetrics,1\n"
    out = ask(stdin="\\l", form="csv")[1]
    assert '"version 1, published 2026-11-01 07:00 UTC"' in out
    assert "no role for analysts is known" in out


def test_expanded_display_gives_a_line_per_value():
    out = ask(stdin="\\x\nselect * from dim_store order by 1\n\\x\n")[1]
    assert "─[ row 2 ]─" in out
    assert " time_zone │ NULL" in out
    assert out.endswith("Expanded display is off.\n")


def test_answers_can_go_into_files_and_back(root):
    code, out, _ = ask(stdin=f"\\o {root}/a.csv\n{COUNT}\n\\o\n{COUNT}\n")
    assert code == 0
    assert (root / "a.csv").read_text() == "lines\n7\n"
    assert "│     7 │" in out


def test_an_unknown_command_is_said():
    assert ask(stdin="\\nope")[2] == "\\nope: is no command; \\? lists them\n"


def test_a_pivot_is_answered_among_other_statements():
    out = ask("create temp table t as select 'a' as k, 1 as v; pivot t on k using sum(v); from t", form="csv")[1]
    assert out == "a\n1\nk,v\na,1\n"


def test_without_a_warehouse_the_way_out_is_named(tmp_path):
    code, _, err = ask(COUNT, root=tmp_path / "other")
    assert code == 1
    assert err == f"{tmp_path}/other/warehouse.duckdb: no warehouse has been published yet; run `make run` first\n"


def test_temporary_tables_stay_when_a_new_version_is_taken_up(root):
    out = io.StringIO()
    with Session(Target(out), "csv") as session:
        session.answer("create temp table mine as select number from version")
        small_warehouse.publish(root, 2)
        session.answer("select mine.number as before, version.number as now from mine, version")
    assert out.getvalue() == "before,now\n1,2\n"


def test_the_conversation_goes_on_after_an_error_and_takes_up_a_new_version(root):
    out, err = io.StringIO(), io.StringIO()
    with Session(Target(out), meanwhile=True) as session, create_pipe_input() as keys:
        small_warehouse.publish(root, 2)
        keys.send_text("selec 1;\rselect count(*) as lines\rfrom fct_sales;\r\\q\r")
        assert terminal.converse(session, err, input=keys, output=DummyOutput()) == 0
        assert session.version.number == 2
    assert "syntax error" in err.getvalue()
    assert "A new version was published" in err.getvalue()
    assert "│     7 │" in out.getvalue()


def test_what_was_typed_is_kept_per_site_for_this_user_only(root):
    with Session(Target(io.StringIO())) as session, create_pipe_input() as keys:
        keys.send_text(f"{COUNT};\r\\q\r")
        terminal.converse(session, io.StringIO(), input=keys, output=DummyOutput())
    kept = root / "sql_history"
    assert COUNT in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
