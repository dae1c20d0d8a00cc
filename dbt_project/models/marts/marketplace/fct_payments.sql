with

    payments as (select * from {{ ref("stg_marketplace__order_payments") }}),

    orders as (select * from {{ ref("int_shop_orders") }}),

    customer_versions as (

        select customer_id, customer_key, valid_from, valid_to from {{ ref("int_customer_versions") }}

    ),

    final as (

        select
            {{ surrogate_key(["payments.order_id", "payments.payment_number"]) }} as payment_key,
            payments.order_id,
            payments.payment_number,
            coalesce(customer_versions.customer_key, {{ unknown_key() }}) as customer_key,
            orders.ordered_at,
            orders.paid_at,
            payments.payment_type_code,
            payments.instalment_count,
            coalesce(orders.currency_code, 'XXX') as currency_code,
            payments.payment_amount,
            coalesce(orders.status_code, 'unknown') as status_code,
            coalesce(orders.status_code = 'cancelled', false) as is_cancelled
        from payments
        left join orders on payments.order_id = orders.order_id
        left join
            customer_versions
            on orders.customer_id = customer_versions.customer_id
            and orders.ordered_at >= customer_versions.valid_from
            and orders.ordered_at < customer_versions.valid_to

    )

select *
from final
