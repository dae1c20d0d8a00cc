{# Schemas are exactly staging, intermediate, marts, metrics: no target prefix, one build per file. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
