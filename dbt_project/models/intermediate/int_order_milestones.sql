{% set milestones = ["ordered", "paid", "shipped", "delivered", "returned"] %}
{% set required = {
    "paid": ["paid", "shipped", "delivered", "returned"],
    "shipped": ["shipped", "delivered", "returned"],
    "delivered": ["delivered", "returned"],
    "returned": ["returned"],
} %}

with

    orders as (select * from {{ ref("int_shop_orders") }}),

    order_items as (select * from {{ ref("int_shop_order_items") }}),

    customer_versions as (

        select customer_id, customer_key, valid_from, valid_to from {{ ref("int_customer_versions") }}

    ),

    stores as (

        select store_id, time_zone, {{ surrogate_key(["store_id"]) }} as store_key from {{ ref("int_shop_stores") }}

    ),

    calendar as (select date_day from {{ ref("int_calendar_days") }}),

    -- the days of the milestones are the store's; those of an order of an unknown store are UTC days
    placed as (

        select orders.*, stores.store_key, coalesce(stores.time_zone, 'UTC') as time_zone
        from orders
        left join stores on orders.store_id = stores.store_id

    ),

    offsets as (select time_zone, utc_date, offset_us from {{ ref("int_utc_offsets") }}),

    bounds as (select min(date_day) as first_day, max(date_day) as last_day from calendar),

    resolved as (

        select
            placed.*,
            {% for milestone in milestones %}
                {{ local_date("placed." ~ milestone ~ "_at", "placed.time_zone", milestone ~ "_days.offset_us") }}
                as {{ milestone }}_date,
            {% endfor %}
            coalesce(customer_versions.customer_key, {{ unknown_key() }}) as customer_key
        from placed
        {% for milestone in milestones %}
            left join
                offsets as {{ milestone }}_days
                on placed.time_zone = {{ milestone }}_days.time_zone
                and {{ utc_day("placed." ~ milestone ~ "_at") }} = {{ milestone }}_days.utc_date
        {% endfor %}
        left join
            customer_versions
            on placed.customer_id = customer_versions.customer_id
            and placed.ordered_at >= customer_versions.valid_from
            and placed.ordered_at < customer_versions.valid_to

    ),

    final as (

        select
            resolved.order_id,
            {% for milestone in milestones %}
                case
                    when resolved.{{ milestone }}_date between bounds.first_day and bounds.last_day
                    then {{ date_key("resolved." ~ milestone ~ "_date") }}
                    else -1
                end as {{ milestone }}_date_key,
            {% endfor %}
            resolved.ordered_date as order_date,
            {% for milestone in milestones %} resolved.{{ milestone }}_at, {% endfor %}
            resolved.customer_key,
            coalesce(resolved.store_key, {{ unknown_key() }}) as store_key,
            resolved.customer_id,
            resolved.store_id,
            resolved.status_code,
            resolved.currency_code,
            {{ hours_between("resolved.ordered_at", "resolved.paid_at") }} as hours_to_payment,
            {{ hours_between("resolved.ordered_at", "resolved.shipped_at") }} as hours_to_shipment,
            {{ hours_between("resolved.ordered_at", "resolved.delivered_at") }} as hours_to_delivery,
            {{ hours_between("resolved.shipped_at", "resolved.delivered_at") }} as hours_in_transit,
            {{ hours_between("resolved.delivered_at", "resolved.returned_at") }} as hours_to_return,
            coalesce(lines.line_count, 0) as line_count,
            cast(coalesce(lines.quantity, 0) as bigint) as quantity,
            cast(coalesce(lines.gross_amount, 0) as decimal(18, 2)) as gross_amount,
            cast(coalesce(lines.discount_amount, 0) as decimal(18, 2)) as discount_amount,
            cast(coalesce(lines.sales_amount, 0) as decimal(18, 2)) as sales_amount,
            cast(coalesce(lines.gross_amount - lines.discount_amount, 0) as decimal(18, 2)) as net_amount,
            resolved.status_code = 'returned' as is_returned,
            resolved.status_code = 'cancelled' as is_cancelled,
            coalesce(resolved.paid_at < resolved.ordered_at, false)
            or coalesce(resolved.shipped_at < greatest(resolved.ordered_at, resolved.paid_at), false)
            or coalesce(
                resolved.delivered_at < greatest(resolved.ordered_at, resolved.paid_at, resolved.shipped_at), false
            )
            or coalesce(
                resolved.returned_at
                < greatest(resolved.ordered_at, resolved.paid_at, resolved.shipped_at, resolved.delivered_at),
                false
            ) as is_out_of_sequence,
            {% for milestone, statuses in required.items() %}
                (
                    resolved.{{ milestone }}_at is null
                    and resolved.status_code
                    in ({% for status in statuses %}'{{ status }}'{{ "," if not loop.last }} {% endfor %})
                )
                {{ "or" if not loop.last }}
            {% endfor %} as has_missing_milestone,
            greatest(resolved._loaded_at, coalesce(lines._loaded_at, resolved._loaded_at)) as _loaded_at
        from resolved
        cross join bounds
        -- of each order by itself, so that who asks for a day of orders does not pay for the lines of all
        left join
            lateral(
                select
                    count(*) as line_count,
                    sum(quantity) as quantity,
                    sum(sales_amount + retail_discount_amount + coupon_match_discount_amount) as gross_amount,
                    sum(
                        retail_discount_amount + coupon_match_discount_amount + coupon_discount_amount
                    ) as discount_amount,
                    sum(sales_amount) as sales_amount,
                    max(_loaded_at) as _loaded_at
                from order_items
                where order_items.order_id = resolved.order_id
            ) as lines
            on true

    )

select *
from final
