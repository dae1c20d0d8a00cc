{% set statuses = ["placed", "paid", "shipped", "delivered", "returned", "cancelled", "purged"] %}
{% set milestones = {
    "ordered_at": "order_placed",
    "paid_at": "order_paid",
    "shipped_at": "order_shipped",
    "delivered_at": "order_delivered",
    "returned_at": "order_returned",
} %}

with

    events as (select * from {{ ref("stg_shop__order_events") }} where version >= 1),

    -- an event that came twice counts once: as it was written first
    versions as (

        select *
        from events
        qualify
            row_number() over (partition by order_id, version order by recorded_at, _loaded_at, event_type, payload) = 1

    ),

    -- versions have no gap: where one is missing, those after it are not believed until it has come
    typed as (

        select
            order_id,
            version,
            row_number() over (partition by order_id order by version) = version as is_in_sequence,
            event_type,
            case
                event_type {% for status in statuses %} when 'order_{{ status }}' then '{{ status }}' {% endfor %}
            end as status_code,
            try_cast({{ json_text("payload", "customer_id") }} as bigint) as customer_id,
            try_cast({{ json_text("payload", "store_id") }} as bigint) as store_id,
            {{ json_text("payload", "currency_code") }} as currency_code,
            occurred_at,
            recorded_at,
            _loaded_at
        from versions

    ),

    rebuilt as (

        select
            order_id,
            {% for column in ["customer_id", "store_id", "status_code", "currency_code"] %}
                max_by({{ column }}, version) filter (
                    where is_in_sequence and {{ column }} is not null
                ) as {{ column }},
            {% endfor %}
            {% for column, event_type in milestones.items() %}
                max_by(occurred_at, version) filter (
                    where is_in_sequence and event_type = '{{ event_type }}'
                ) as {{ column }},
            {% endfor %}
            max(recorded_at) filter (where is_in_sequence) as updated_at,
            coalesce(max(version) filter (where is_in_sequence), 0) as version,
            max(version) as last_version,
            max(recorded_at) as last_recorded_at,
            count(*) filter (where status_code is null) > 0 as has_unknown_events,
            max(_loaded_at) as _loaded_at
        from typed
        group by order_id

    ),

    final as (

        select
            *,
            version < last_version as has_gap,
            -- an order that was cleared away is no longer in the shop's table
            coalesce(status_code = 'purged', false) as is_deleted
        from rebuilt

    )

select *
from final
