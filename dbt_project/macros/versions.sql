{#
  The versions of a type 2 dimension, from the history of observations of its table: one row per `id` and period in
  which none of the `tracked` columns changed. Used by all dimensions of type 2, so that they agree about time.

  - The shop's clock (`updated_at`) orders the versions, not the order in which they were loaded: a change that comes late
    takes its place in the past. Of two observations of one instant the later load counts.
  - A deletion is dated by the load that noticed it. It ends the version before it. A row that is loaded after a
    deletion has come back; if its clock is older than the deletion, it holds from the load that brought it.
  - The first version holds from the beginning of time, so that earlier events find it.
  - Versions and keys follow from the history alone: built anew, they are the same.

  `kept` are columns that are taken from the observation with which a version begins.
#}
{% macro versions(history, id, key, tracked, kept=["created_at"]) %}
    {% set state = "row(" ~ tracked | join(", ") ~ ")" %}
    with

        history as (

            select
                *,
                max(case when _op = 'd' then updated_at end) over (
                    partition by {{ id }}
                    order by _loaded_at
                    range between unbounded preceding and interval 1 microsecond preceding
                ) as deleted_at
            from {{ history }}

        ),

        dated as (

            select
                *, case when _op <> 'd' and updated_at <= deleted_at then _loaded_at else updated_at end as observed_at
            from history

        ),

        observed as (

            select *
            from dated
            qualify
                row_number() over (
                    partition by {{ id }}, observed_at
                    order by
                        _loaded_at desc,
                        case when _op = 'd' then 0 else 1 end,
                        -- whatever is left must not depend on the order of reading
                        {{ (tracked + kept) | join(", ") }}
                )
                = 1

        ),

        compared as (

            select
                *,
                lag(_op) over in_time as previous_op,
                lag({{ state }}) over in_time as previous_state,
                lag({{ id }}) over in_time is null as is_first
            from observed
            window in_time as (partition by {{ id }} order by observed_at)

        ),

        -- a version begins where something that is tracked changes; a deletion stays for now, to end the one before it
        changed as (

            select *
            from compared
            where
                is_first
                or (_op = 'd') <> (previous_op = 'd')
                or (_op <> 'd' and {{ state }} is distinct from previous_state)

        ),

        bounded as (

            select
                *,
                case when is_first then {{ beginning_of_time() }} else observed_at end as valid_from,
                coalesce(lead(observed_at) over in_time, {{ end_of_time() }}) as valid_to,
                lead(_op) over in_time = 'd' and lead(_op, 2) over in_time is null as is_deleted
            from changed
            window in_time as (partition by {{ id }} order by observed_at)

        ),

        final as (

            select
                {{ surrogate_key([id, local_time("valid_from")]) }} as {{ key }},
                {{ id }},
                {% for column in tracked + kept %} {{ column }}, {% endfor %}
                valid_from,
                valid_to,
                valid_to = {{ end_of_time() }} as is_current,
                coalesce(is_deleted, false) as is_deleted,
                _loaded_at
            from bounded
            where _op <> 'd'

        )

    select *
    from final
{% endmacro %}
