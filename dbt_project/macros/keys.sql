{# The key of a dimension row or a fact row: md5 of its natural key, `-1` is kept for the unknown member. #}
{% macro surrogate_key(expressions) -%}
    {%- set parts = [] -%}
    {%- for expression in expressions -%}
        {%- do parts.append("cast(" ~ expression ~ " as " ~ dbt.type_string() ~ ")") -%}
        {%- if not loop.last -%} {%- do parts.append("'|'") -%} {%- endif -%}
    {%- endfor -%}
    {{ dbt.hash(dbt.concat(parts)) }}
{%- endmacro %}

{% macro unknown_key() -%} '-1' {%- endmacro %}

{# The type of the shop's own ids of orders, customers and articles: numbers in most shops, texts in some. #}
{% macro id_type() -%} {{ env_var("SHOP_ID_TYPE", "bigint") }} {%- endmacro %}

{# A date as the integer yyyymmdd. #}
{% macro date_key(date) -%}
    cast(
        extract(year from {{ date }}) * 10000
        + extract(month from {{ date }}) * 100
        + extract(day from {{ date }}) as integer
    )
{%- endmacro %}
