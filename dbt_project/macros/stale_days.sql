{#
  Incremental facts by event day, without trusting arrival.

  A day of the fact is stale when it no longer equals the same day of the lines it is made from: other row count or
  other fingerprint over all columns. That catches late, changed and deleted rows, rows that moved to another day,
  days that emptied, and keys that resolve differently since a dimension changed. The pre-hook deletes the stale
  days; the model appends the days that are not there (`missing_days`), in the same transaction. dbt's own
  `delete+insert` and `microbatch` keep the rows of a day that was reloaded empty.

  Only the days in question are compared, where these are known (`changed_days`); otherwise all are. A day that the fact
  does not hold yet has nothing to be compared with.
#}
{% macro delete_stale_days(lines, instant, derived=[]) %}
    {% set ranges = days_in_question() %}
    {% if is_incremental() and ranges != [] %}
        {% set held = held_days(instant, ranges) %} {% set compared = [] %}
        {% for column in adapter.get_columns_in_relation(this) if column.name not in derived %}
            {% do compared.append(column.name) %}
        {% endfor %}
        create or replace table {{ seen("stale") }} as
        select built.day
        from ({{ day_fingerprints(this, instant, compared, held) }}) as built
        left join ({{ day_fingerprints(lines, instant, compared, held) }}) as lines on built.day = lines.day
        where lines.day is null or built.row_count <> lines.row_count or built.fingerprint <> lines.fingerprint
        ;
        delete from {{ this }}
        where {{ on_days(instant, held) }} and {{ utc_day(instant) }} in (select day from {{ seen("stale") }})
    {% else %}
        drop table if exists {{ seen("stale") }}
        ;
        {% if execute and not is_incremental() and "written" in remembered() %}
            create table {{ seen("stale") }} as
            select day
            from {{ seen("written") }}
            where day is not null
            ;
        {% endif %}
    {% endif %}
{% endmacro %}

{# Those of the days in question on which the fact has rows; none if all days are in question. #}
{% macro held_days(instant, ranges) %}
    {% if ranges is none %} {{ return(none) }} {% endif %}
    {{
        return(
            day_ranges(
                "select distinct " ~ utc_day(instant) ~ " as day from " ~ this ~ " where " ~ on_days(instant, ranges)
            )
        )
    }}
{% endmacro %}

{# One row per UTC day: row count and an order-free fingerprint of the columns. #}
{% macro day_fingerprints(relation, instant, columns, ranges=none) %}
    select {{ utc_day(instant) }} as day, count(*) as row_count, {{ order_free_hash(columns) }} as fingerprint
    from {{ relation }}
    where {{ on_days(instant, ranges) }}
    group by 1
{% endmacro %}

{% macro order_free_hash(columns) -%}
    {{ return(adapter.dispatch("order_free_hash", "watershed")(columns)) }}
{%- endmacro %}

{% macro duckdb__order_free_hash(columns) -%} sum(hash({{ columns | join(", ") }})) {%- endmacro %}

{% macro spark__order_free_hash(columns) -%}
    sum(cast(xxhash64({{ columns | join(", ") }}) as decimal(38, 0)))
{%- endmacro %}

{# Condition: the instant lies on a day that the fact does not hold (always true for a full build). #}
{% macro missing_days(instant, ranges=none) %}
    {% if is_incremental() %}
        {{ on_days(instant, ranges) }}
        and {{ utc_day(instant) }} not in (
            select distinct {{ utc_day(instant) }}
            from {{ this }}
            where {{ instant }} is not null and {{ on_days(instant, ranges) }}
        )
    {% else %} true
    {% endif %}
{% endmacro %}
