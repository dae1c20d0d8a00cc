{#
  Months added up from their days, so that one day of news does not read the whole month.

  What an aggregate is made from is kept in `seen` by UTC day of the fact, beside the marks of `written_days`. Sums add
  up; distinct orders do not, where one order has lines on several days. Such split orders are few: they are kept by
  their id, and all others as a count. `split` holds them. It may name too many (an order that no longer is), never too
  few: when an order becomes one, its other days are in question, too.
#}
{# The orders with lines on several days; as a table once a build has looked (`look_at_split`). #}
{% macro split_orders(fact, instant, id) %}
    {% if is_build_of_a_model() %} select {{ id }} from {{ seen("split_now") }}
    {% else %} {{ of_several_days(fact, instant, id) }}
    {% endif %}
{% endmacro %}

{% macro of_several_days(fact, instant, id, ranges=none) %}
    select {{ id }}
    from {{ fact }}
    {% if ranges is not none %}
        where {{ id }} in (select {{ id }} from {{ fact }} where {{ on_days(instant, ranges) }})
    {% endif %}
    group by {{ id }}
    having {{ utc_day("min(" ~ instant ~ ")") }} <> {{ utc_day("max(" ~ instant ~ ")") }}
{% endmacro %}

{# Find the split orders, and return the days in question with those that have become part of one. #}
{% macro look_at_split(fact, instant, id, ranges) %}
    {% if not is_build_of_a_model() %} {{ return(none) }} {% endif %}
    {% set found %}
        {{ of_several_days(fact, instant, id, ranges) }}
        {% if ranges is not none %}
            union
            select {{ id }}
            from {{ seen("split") }}
        {% endif %}
    {% endset %}
    {% do run_query("create or replace table " ~ seen("split_now") ~ " as " ~ found) %}
    {% if ranges is not none %}
        {% set more %}
            select distinct {{ utc_day(instant) }}
            from {{ fact }}
            where
                {{ id }} in (
                    select {{ id }}
                    from {{ seen("split_now") }}
                    except
                    select {{ id }}
                    from {{ seen("split") }}
                )
                and {{ utc_day(instant) }} not in (select day from {{ seen("days") }})
        {% endset %}
        {% do run_query("insert into " ~ seen("days") ~ " " ~ more) %}
    {% endif %}
    {{ return(days_in_question()) }}
{% endmacro %}

{#
  The rows by day of all months in question: of the days in question as `by_day` has them now, of others as they are
  kept. Outside of a build it is `by_day` itself.
#}
{% macro days_of_months(by_day, month) %}
    {% if not is_build_of_a_model() %} {{ return(by_day) }} {% endif %}
    {% do run_query("create or replace table " ~ seen("by_day_now") ~ " as " ~ by_day) %}
    {% do run_query("drop table if exists " ~ seen("months")) %}
    {% if days_in_question() is not none %}
        {% set months %}
            select {{ month }}
            from {{ seen("by_day_now") }}
            union
            select {{ month }}
            from {{ seen("by_day") }}
            where day in (select day from {{ seen("days") }})
        {% endset %}
        {% do run_query("create table " ~ seen("months") ~ " as " ~ months) %}
    {% endif %}
    select *
    from {{ seen("by_day_now") }}
    {% if days_in_question() is not none %}
        union all
        select *
        from {{ seen("by_day") }}
        where
            {{ month }} in (select {{ month }} from {{ seen("months") }})
            and day not in (select day from {{ seen("days") }})
    {% endif %}
{% endmacro %}

{# A pre-hook: the months in question go, and are appended by the model in the same transaction. #}
{% macro delete_months(month) %}
    {% if is_incremental() %}
        delete from {{ this }}
        {% if "months" in remembered() %}
            where {{ month }} in (select {{ month }} from {{ seen("months") }})
        {% endif %}
    {% else %} select 1
    {% endif %}
{% endmacro %}

{# A post-hook: remember what the months were made from. #}
{% macro remember_months(dimensions={}) %}
    {{ remember_written(dimensions) }}
    {% if execute and "project_now" in remembered() %}
        {{ keep(["split"]) }}
        {% if "months" in remembered() %}
            delete from {{ seen("by_day") }}
            where day in (select day from {{ seen("days") }})
            ;
            insert into {{ seen("by_day") }}
            select *
            from {{ seen("by_day_now") }}
            ;
        {% else %} {{ keep(["by_day"]) }}
        {% endif %}
        drop table {{ seen("by_day_now") }}
    {% endif %}
{% endmacro %}
