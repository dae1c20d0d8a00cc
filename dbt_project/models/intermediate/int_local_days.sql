{{ config(materialized="table") }}

with

    order_items as (select * from {{ ref("int_shop_order_items") }}),

    orders as (select * from {{ ref("int_shop_orders") }}),

    stores as (select * from {{ ref("int_shop_stores") }}),

    slots as (

        select distinct
            coalesce(stores.time_zone, 'UTC') as time_zone, {{ utc_slot("order_items.ordered_at", 15) }} as slot_at
        from order_items
        left join orders on order_items.order_id = orders.order_id
        left join stores on orders.store_id = stores.store_id

    ),

    final as (

        select time_zone, slot_at, cast({{ local_time("slot_at", "time_zone") }} as date) as local_date from slots

    )

select *
from final
