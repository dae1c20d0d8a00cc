{{ config(materialized="table") }}

{% set tracked = [
    "first_name",
    "last_name",
    "email_hash",
    "phone_hash",
    "city",
    "region",
    "postal_code",
    "segment_code",
    "age_band",
    "income_band",
] %}

with

    history as (select * from {{ ref("int_shop_customers_history") }}),

    -- one row per customer and instant: of two observations of one instant the later load counts
    observed as (

        select *
        from history
        qualify
            row_number() over (
                partition by customer_id, updated_at order by _loaded_at desc, case when _op = 'd' then 0 else 1 end
            )
            = 1

    ),

    compared as (

        select
            *,
            lag(_op) over versions as previous_op,
            {% for column in tracked %} lag({{ column }}) over versions as previous_{{ column }}, {% endfor %}
            lag(customer_id) over versions is null as is_first
        from observed
        window versions as (partition by customer_id order by updated_at)

    ),

    -- a version begins where something that is tracked changes; a deletion is kept for now, to end the one before it
    changed as (

        select *
        from compared
        where
            is_first
            or (_op = 'd') <> (previous_op = 'd')
            or (
                _op <> 'd'
                and (
                    {% for column in tracked %}
                        {{ column }} is distinct from previous_{{ column }} {% if not loop.last %} or {% endif %}
                    {% endfor %}
                )
            )

    ),

    bounded as (

        select
            *,
            case when is_first then {{ beginning_of_time() }} else updated_at end as valid_from,
            coalesce(
                lead(updated_at) over (partition by customer_id order by updated_at), {{ end_of_time() }}
            ) as valid_to
        from changed

    ),

    final as (

        select
            {{ surrogate_key(["customer_id", local_time("valid_from")]) }} as customer_key,
            customer_id,
            {% for column in tracked %} {{ column }}, {% endfor %}
            created_at,
            valid_from,
            valid_to,
            valid_to = {{ end_of_time() }} as is_current,
            _loaded_at
        from bounded
        where _op <> 'd'

    )

select *
from final
