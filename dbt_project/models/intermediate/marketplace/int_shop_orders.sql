with

    orders as (select * from {{ ref("stg_marketplace__orders") }}),

    customers as (select order_customer_id, customer_id from {{ ref("stg_marketplace__customers") }}),

    final as (

        select
            orders.order_id,
            customers.customer_id,
            -- the platform is the one store; who ships is told by fct_seller_sales
            cast(1 as bigint) as store_id,
            case
                orders.status_code
                when 'created'
                then 'placed'
                when 'approved'
                then 'paid'
                when 'invoiced'
                then 'paid'
                when 'processing'
                then 'paid'
                when 'shipped'
                then 'shipped'
                when 'delivered'
                then 'delivered'
                -- the seller could not supply it: nothing is ever shipped
                when 'unavailable'
                then 'cancelled'
                when 'canceled'
                then 'cancelled'
                -- a status that is not known yet goes through as it is, and fails the test of the codes
                else orders.status_code
            end as status_code,
            'BRL' as currency_code,
            orders.ordered_at,
            orders.approved_at as paid_at,
            orders.shipped_at,
            orders.delivered_at,
            cast(null as timestamptz) as returned_at,
            greatest(
                orders.ordered_at,
                coalesce(orders.approved_at, orders.ordered_at),
                coalesce(orders.shipped_at, orders.ordered_at),
                coalesce(orders.delivered_at, orders.ordered_at)
            ) as updated_at,
            orders._loaded_at,
            -- the customer comes from another table
            cast(null as varchar) as _lake_file
        from orders
        left join customers on orders.order_customer_id = customers.order_customer_id

    )

select *
from final
