{#
  Aggregates of a fact, computed anew only where the fact was written since.

  A fact that ends with `mark_written_days` remembers of each UTC day in which of its builds it was last written, in the
  transaction of that build; builds are counted, and the count never goes back while anything is remembered at all. An
  aggregate remembers the marks it was made from, so days written in runs that it has missed are told as well. A day is
  in question when its mark differs, or when one of its rows names a key that means something else in a dimension that
  the aggregate joins. Where nothing can be told (nothing is remembered, a model was edited), all days are in question.
#}
{% macro mark_written_days(instant) %}
    {% if execute %}
        {% set there = remembered() %}
        {% set ranges = days_in_question() if "written" in there else none %}
        create table if not exists {{ seen("written") }} (day date, mark bigint)
        ;
        -- the row without a day is the count
        insert into {{ seen("written") }}
        select null, coalesce(max(mark), 0) + 1
        from {{ seen("written") }}
        ;
        delete from {{ seen("written") }}
        where
            (day is null and mark < (select max(mark) from {{ seen("written") }}))
            {% if "stale" in there %} or day in (select day from {{ seen("stale") }}) {% endif %}
        ;
        insert into {{ seen("written") }}
        select day, (select max(mark) from {{ seen("written") }})
        from (select distinct {{ utc_day(instant) }} as day from {{ this }} where {{ on_days(instant, ranges) }})
        where day is not null and day not in (select day from {{ seen("written") }} where day is not null)
    {% endif %}
{% endmacro %}

{#
  The days of a fact that an aggregate must look at again, as pairs of their first day and the day after; none if all.
  `dimensions` are what it joins by key: the columns that it takes, as in `changes`. `kept` is what it remembers besides.
#}
{% macro written_days(fact, instant, dimensions={}, kept=[]) %}
    {% if not is_build_of_a_model() %} {{ return(none) }} {% endif %}
    {% do run_query("drop table if exists " ~ seen("days")) %}
    {% if "written" not in remembered(fact) %}
        {% do run_query("drop table if exists " ~ seen("project_now")) %} {{ return(none) }}
    {% endif %}
    {% do run_query("create or replace table " ~ seen("written_now") ~ " as from " ~ seen("written", fact)) %}
    {% do look_at_meanings(dimensions) %} {% do look_at_project() %}
    {% if is_incremental() and is_remembered(["written"] + kept + dimensions.keys() | list) %}
        {% set days %}
            select day from ({{ differing_rows(seen("written_now"), seen("written")) }})
            {% for id in dimensions if has_other_meanings(id) %}
                union
                {{ days_of_other_meaning(fact, instant, id) }}
            {% endfor %}
        {% endset %}
        {% set distinct_days = "select distinct day from (" ~ days ~ ") where day is not null" %}
        {% do run_query("create table " ~ seen("days") ~ " as " ~ distinct_days) %}
    {% endif %}
    {{ return(days_in_question()) }}
{% endmacro %}

{# Only a build may write down what it looks at; a unit test of a model is none of it. #}
{% macro is_build_of_a_model() %}
    {{ return(execute and flags.WHICH in ("build", "run") and model.resource_type == "model") }}
{% endmacro %}

{# Asked first, since it is seldom so and finding the days of an id reads the whole column. #}
{% macro has_other_meanings(id) %}
    {% set other = run_query("from (" ~ differing_rows(seen(id ~ "_now"), seen(id)) ~ ") limit 1") %}
    {{ return(other.rows | length > 0) }}
{% endmacro %}

{# A pre-hook: the days in question go, and are appended by the model in the same transaction. #}
{% macro delete_written_days(instant) %}
    {% if is_incremental() %} delete from {{ this }} where {{ on_days(instant, days_in_question()) }}
    {% else %} select 1
    {% endif %}
{% endmacro %}

{# A post-hook: remember what the aggregate was made from. #}
{% macro remember_written(dimensions={}) %}
    {% if execute and "project_now" in remembered() %} {{ keep(["project", "written"] + dimensions.keys() | list) }}
    {% else %} drop table if exists {{ seen("project") }}
    {% endif %}
{% endmacro %}
