{# The text of a field of a JSON object; NULL if it has no such field, or is no JSON. #}
{% macro json_text(column, field) -%}
    {{ return(adapter.dispatch("json_text", "watershed")(column, field)) }}
{%- endmacro %}

{% macro duckdb__json_text(column, field) -%}
    json_extract_string(case when json_valid({{ column }}) then {{ column }} end, '$.{{ field }}')
{%- endmacro %}

{% macro spark__json_text(column, field) -%} get_json_object({{ column }}, '$.{{ field }}') {%- endmacro %}
