with

    order_items as (select * from {{ ref("stg_marketplace__order_items") }}),

    orders as (select order_id, ordered_at from {{ ref("stg_marketplace__orders") }}),

    final as (

        select
            order_items.order_id,
            order_items.line_number,
            order_items.product_id,
            1 as quantity,
            order_items.price_amount as sales_amount,
            cast(0 as decimal(12, 2)) as retail_discount_amount,
            cast(0 as decimal(12, 2)) as coupon_discount_amount,
            cast(0 as decimal(12, 2)) as coupon_match_discount_amount,
            -- a line whose order is not there yet counts on the day until which it is to be shipped
            coalesce(orders.ordered_at, order_items.shipping_limit_at) as ordered_at,
            coalesce(orders.ordered_at, order_items.shipping_limit_at) as updated_at,
            order_items._loaded_at,
            -- the instant comes from another table
            cast(null as varchar) as _lake_file
        from order_items
        left join orders on order_items.order_id = orders.order_id

    )

select *
from final
