{#
  dbt's rule, and one more: an incremental table whose columns are no longer those of the contract is built anew,
  so that a changed model needs no operator who remembers --full-refresh.
#}
{% macro should_full_refresh() %}
    {% set wanted = config.get("full_refresh") %}
    {% if wanted is none %} {% set wanted = flags.FULL_REFRESH %} {% endif %}
    {% if not wanted and execute and model.config.materialized == "incremental" %}
        {% set existing = load_cached_relation(this) %}
        {% if existing is not none %}
            {% set built = [] %}
            {% for column in adapter.get_columns_in_relation(existing) %}
                {% do built.append(column.name ~ " " ~ column.dtype | lower | replace(" ", "")) %}
            {% endfor %}
            {% set contracted = [] %}
            {% for column in model.columns.values() %}
                {% do contracted.append(column.name ~ " " ~ column.data_type | lower | replace(" ", "")) %}
            {% endfor %}
            {% set wanted = built | sort != contracted | sort %}
            {% if wanted %} {% do log(this ~ " is built anew: it has " ~ built ~ ", not " ~ contracted) %} {% endif %}
        {% endif %}
    {% endif %}
    {% do return(wanted) %}
{% endmacro %}
