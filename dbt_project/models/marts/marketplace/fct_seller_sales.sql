with

    sales as (select sale_key, order_id, line_number, ordered_at, sales_amount from {{ ref("fct_sales") }}),

    order_items as (select * from {{ ref("stg_marketplace__order_items") }}),

    sellers as (select seller_id, seller_key from {{ ref("dim_seller") }} where seller_id is not null),

    final as (

        select
            sales.sale_key,
            sales.order_id,
            sales.line_number,
            coalesce(sellers.seller_key, {{ unknown_key() }}) as seller_key,
            order_items.seller_id,
            sales.ordered_at,
            order_items.shipping_limit_at,
            sales.sales_amount,
            order_items.freight_amount
        from sales
        left join order_items on sales.order_id = order_items.order_id and sales.line_number = order_items.line_number
        left join sellers on order_items.seller_id = sellers.seller_id

    )

select *
from final
