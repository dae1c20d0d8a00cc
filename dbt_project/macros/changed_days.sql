{#
  The UTC days of a fact that can differ from what it is made from, told without reading the lines.

  What a fact was built from is remembered in the schema `seen`, in the transaction of the build itself:

  - of the lines, which files of the lake hold each day (`_lake_file`). A file of the lake never changes: other rows lie in
    another file. Telling the files of a day costs its column of instants;
  - of what is joined by key (orders to lines, lines to orders), which files held the rows that a day's lines found;
  - of each dimension, when which of its ids began to mean what (`changes`);
  - of what any row may be joined with (`whole`, the calendar), all of it: if it differs, all days are in question.

  A day is in question when its files differ, when a file that its lines had joined is gone, when one of its lines
  finds its order in a new file, or when an id that it names means something else from then on. Where that cannot be
  told (nothing is remembered, a model was edited, a shop whose rows have no `_lake_file`), all days are in question.

  `delete_stale_days` compares the days in question with their lines, so a file that was only rewritten costs a look.
#}
{% macro changed_days(instant, lines, joined=none, on=none, dimensions={}, whole=none) %}
    {# only a build may write down what it looks at #}
    {% if not execute or flags.WHICH not in ("build", "run") %} {{ return(none) }} {% endif %}
    {% do run_query("drop table if exists " ~ seen("days")) %}
    {% if not has_files([lines, joined]) %}
        {% do run_query("drop table if exists " ~ seen("project_now")) %} {{ return(none) }}
    {% endif %}
    {% do look(instant, lines, joined, dimensions, whole) %}
    {% set wanted = ["files"] + (["joined"] if joined is not none else []) + dimensions.keys() | list %}
    {% if is_incremental() and all_files_are_named() and is_remembered(wanted) %}
        {% set days = differing_days(instant, lines, joined, on, dimensions) %}
        {% do run_query("create table " ~ seen("days") ~ " as " ~ days) %}
    {% endif %}
    {% set ranges = days_in_question() %}
    {% if joined is not none %} {% do look_for_joined(instant, lines, joined, on, ranges) %} {% endif %}
    {{ return(ranges) }}
{% endmacro %}

{% macro differing_days(instant, lines, joined, on, dimensions) %}
    with

        now_there as (select part, day, file, row_count from {{ seen("files_now") }}),

        was_there as (select part, day, file, row_count from {{ seen("files") }}),

        differing as ({{ differing_rows("now_there", "was_there") }}),

        changed as (

            select day
            from differing
            where part = 'lines'
            {% if joined is not none %}
                union all
                select found.day
                from {{ seen("joined") }} as found
                where found.file not in (select file from now_there where part = 'joined')
                union all
                select {{ utc_day("fact." ~ instant) }}
                from {{ this }} as fact
                where
                    fact.{{ on }} in (
                        select joined.{{ on }}
                        from {{ joined }} as joined
                        where
                            joined._lake_file in (select file from now_there where part = 'joined')
                            and joined._lake_file not in (select file from was_there where part = 'joined')
                    )
            {% endif %}
            {% for id in dimensions %}
                union all
                {{ days_of_other_meaning(this, instant, id) }}
            {% endfor %}

        )

    select distinct day
    from changed
    where day is not null
{% endmacro %}

{# The days of a fact on which it names an id that means something else than it did. #}
{% macro days_of_other_meaning(fact, instant, id) %}
    select {{ utc_day("fact." ~ instant) }} as day
    from {{ fact }} as fact
    inner join
        (select id, min(since) as since from ({{ differing_rows(seen(id ~ "_now"), seen(id)) }}) group by id) as news
        on fact.{{ id }} = news.id
        and fact.{{ instant }} >= news.since
{% endmacro %}

{# Rows that one of two tables has and the other has not. #}
{% macro differing_rows(one, other) %}
    (
        select *
        from {{ one }}
        except
        select *
        from {{ other }}
    )
    union all
    (
        select *
        from {{ other }}
        except
        select *
        from {{ one }}
    )
{% endmacro %}

{# The days in question as pairs of their first day and the day after; none if all days are. #}
{% macro days_in_question() %}
    {% if not execute or "days" not in remembered() %} {{ return(none) }} {% endif %}
    {{ return(day_ranges("select day from " ~ seen("days"))) }}
{% endmacro %}

{# What a query answers in its column `day`, as pairs of a first day and the day after the last that follows it. #}
{% macro day_ranges(days) %}
    {% set islands %}
        select day, day - cast(row_number() over (order by day) as integer) as island from ({{ days }})
    {% endset %}
    {% set ranges = run_query(
        "select cast(min(day) as varchar), cast(max(day) + 1 as varchar) from ("
        ~ islands
        ~ ") group by island order by 1"
    ) %}
    {% set found = [] %}
    {% for range in ranges.rows %} {% do found.append([range[0], range[1]]) %} {% endfor %}
    {{ return(found) }}
{% endmacro %}

{# Condition: the instant lies on one of these days. Written as bounds, by which files and row groups are skipped. #}
{% macro on_days(instant, ranges) %}
    {% if ranges is none %} true
    {% elif not ranges %} false
    {% else %}
        {{ instant }} >= {{ midnight(ranges[0][0]) }} and {{ instant }} < {{ midnight(ranges[-1][1]) }}
        {% if ranges | length > 1 %}
            and (
                {% for range in ranges %}
                    {{ instant }} >= {{ midnight(range[0]) }} and {{ instant }} < {{ midnight(range[1]) }}
                    {% if not loop.last %} or {% endif %}
                {% endfor %}
            )
        {% endif %}
    {% endif %}
{% endmacro %}

{# A table in which is remembered what this fact (or another one) was built from. #}
{% macro seen(what, of=none) %}
    {{ return("seen." ~ adapter.quote((of or this).identifier ~ "__" ~ what)) }}
{% endmacro %}

{# What is remembered of this fact (or of another one). #}
{% macro remembered(of=none) %}
    {% set found = [] %}
    {% set prefix = (of or this).identifier ~ "__" %}
    {% for name in run_query("select table_name from duckdb_tables() where schema_name = 'seen'").columns[0].values() %}
        {% if name.startswith(prefix) %} {% do found.append(name[prefix | length :]) %} {% endif %}
    {% endfor %}
    {{ return(found) }}
{% endmacro %}

{# Whether the rows of these relations name the file of the lake that holds them. #}
{% macro has_files(relations) %}
    {% for relation in relations if relation is not none %}
        {% if "_lake_file" not in adapter.get_columns_in_relation(relation) | map(attribute="name") %}
            {{ return(false) }}
        {% endif %}
    {% endfor %}
    {{ return(true) }}
{% endmacro %}

{# Write down what there is, before anything is read: what comes meanwhile is news for the next build. #}
{% macro look(instant, lines, joined, dimensions, whole) %}
    {% set files %}
        select 'lines' as part, {{ utc_day(instant) }} as day, _lake_file as file, count(*) as row_count
        from {{ lines }}
        group by 1, 2, 3
        {% if joined is not none %}
            union all
            select 'joined', null, _lake_file, count(*)
            from {{ joined }}
            group by 3
        {% endif %}
    {% endset %}
    {% do run_query("create or replace table " ~ seen("files_now") ~ " as " ~ files) %}
    {% do look_at_meanings(dimensions) %} {% do look_at_project(whole) %}
{% endmacro %}

{% macro look_at_meanings(dimensions) %}
    {% for id in dimensions %}
        {% do run_query("create or replace table " ~ seen(id ~ "_now") ~ " as " ~ changes(id, **dimensions[id])) %}
    {% endfor %}
{% endmacro %}

{% macro look_at_project(whole=none) %}
    {% set found = {"names": [], "code": [model.raw_code]} %}
    {% do upstream(model.unique_id, found) %}
    {% set project %}
        select
            '{{ local_md5(found.code | join) }}'
            {% if whole is not none %}
                || (select coalesce({{ order_free_hash(whole.columns) }}, 0) from {{ whole.relation }})
            {% endif %}
            as code,
            md5(string_agg(sql, ';' order by view_name)) as views
        from duckdb_views()
        where not internal and view_name in ('{{ found.names | join("', '") }}')
    {% endset %}
    {% do run_query("create or replace table " ~ seen("project_now") ~ " as " ~ project) %}
{% endmacro %}

{# The files in which the lines of the days in question find what they are joined with, before they are joined. #}
{% macro look_for_joined(instant, lines, joined, on, ranges) %}
    {% set found %}
        select distinct {{ utc_day("line." ~ instant) }} as day, other._lake_file as file
        from (select {{ on }}, {{ instant }} from {{ lines }} where {{ on_days(instant, ranges) }}) as line
        inner join (select {{ on }}, _lake_file from {{ joined }}) as other on line.{{ on }} = other.{{ on }}
    {% endset %}
    {% do run_query("create or replace table " ~ seen("joined_now") ~ " as " ~ found) %}
{% endmacro %}

{# Names and code of all models that a model is made from. #}
{% macro upstream(unique_id, found) %}
    {% for parent in graph.nodes[unique_id].depends_on.nodes if parent in graph.nodes %}
        {% set node = graph.nodes[parent] %}
        {% if node.name not in found.names %}
            {% do found.names.append(node.name) %} {% do found.code.append(node.raw_code) %}
            {% do upstream(parent, found) %}
        {% endif %}
    {% endfor %}
{% endmacro %}

{#
  When an id of a dimension begins to mean something: one row per id, instant and meaning. Of versions their `key` at
  `valid_from`, and nothing from `valid_to` on if no other version begins there; of other tables the named columns.
#}
{% macro changes(id, relation, key=none, columns=[]) %}
    {% if key %}
        select {{ id }} as id, valid_from as since, {{ key }} as meaning
        from {{ relation }}
        union all
        select ended.{{ id }}, ended.valid_to, null
        from {{ relation }} as ended
        left join
            {{ relation }} as following on ended.{{ id }} = following.{{ id }} and ended.valid_to = following.valid_from
        where following.{{ id }} is null
    {% else %}
        select {{ id }} as id, {{ beginning_of_time() }} as since, {{ order_free_hash(columns) }} as meaning
        from {{ relation }}
        group by 1, 2
    {% endif %}
{% endmacro %}

{# Whether the last build left what is to be compared, under the same definitions. #}
{% macro is_remembered(wanted) %}
    {% if (["project"] + wanted) | reject("in", remembered()) | list %} {{ return(false) }} {% endif %}
    {% set other = run_query("select * from " ~ seen("project_now") ~ " except select * from " ~ seen("project")) %}
    {{ return(other.rows | length == 0) }}
{% endmacro %}

{% macro all_files_are_named() %}
    {% set nameless = run_query("select 1 from " ~ seen("files_now") ~ " where file is null limit 1") %}
    {{ return(nameless.rows | length == 0) }}
{% endmacro %}

{# Remember what the fact is built from: a post-hook, so in the transaction of the build. #}
{% macro remember(instant, lines, joined=none, on=none, dimensions={}, whole=none) %}
    {% if execute and "project_now" in remembered() %}
        {{ keep(["project", "files"] + dimensions.keys() | list) }}
        {% if joined is not none %}
            create table if not exists {{ seen("joined") }} as
            select *
            from {{ seen("joined_now") }}
            limit 0
            ;
            delete from {{ seen("joined") }}
            {% if "days" in remembered() %} where day in (select day from {{ seen("days") }}) {% endif %}
            ;
            insert into {{ seen("joined") }}
            select *
            from {{ seen("joined_now") }}
            ;
        {% endif %}
    {% else %} select 1
    {% endif %}
{% endmacro %}

{# What was looked at is what is remembered. #}
{% macro keep(whats) %}
    {% for what in whats %}
        create or replace table {{ seen(what) }} as
        select *
        from {{ seen(what ~ "_now") }}
        ;
    {% endfor %}
{% endmacro %}
