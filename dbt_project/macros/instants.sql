{# Wall-clock time of an instant in a time zone (an SQL expression or literal). #}
{% macro local_time(instant, time_zone="'UTC'") -%}
    {{ return(adapter.dispatch("local_time", "watershed")(instant, time_zone)) }}
{%- endmacro %}

{% macro default__local_time(instant, time_zone) -%} ({{ instant }} at time zone {{ time_zone }}) {%- endmacro %}

{% macro spark__local_time(instant, time_zone) -%} from_utc_timestamp({{ instant }}, {{ time_zone }}) {%- endmacro %}

{# The UTC day of an instant: the unit in which facts are rebuilt, and the partition of the lake's tables. #}
{% macro utc_day(instant) -%} cast({{ local_time(instant) }} as date) {%- endmacro %}

{# The hour, in UTC, in which an instant lies; independent of the session's time zone. #}
{% macro utc_hour(instant) -%} date_trunc('hour', {{ local_time(instant) }}) at time zone 'UTC' {%- endmacro %}

{# The ends of validity of type 2 dimensions: before any sale, and after any sale. #}
{% macro beginning_of_time() -%} cast('1900-01-01 00:00:00+00' as timestamptz) {%- endmacro %}

{% macro end_of_time() -%} cast('9999-12-31 00:00:00+00' as timestamptz) {%- endmacro %}
