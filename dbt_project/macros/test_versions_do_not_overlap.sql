{# At every instant an id of a type 2 dimension has at most one version. #}
{% test versions_do_not_overlap(model, id) %}
    select *
    from
        (
            select
                {{ id }},
                valid_from,
                valid_to,
                lead(valid_from) over (partition by {{ id }} order by valid_from) as next_from
            from {{ model }}
            where {{ id }} is not null
        ) as versions
    where valid_from >= valid_to or next_from < valid_to
{% endtest %}
