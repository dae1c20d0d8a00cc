with

    customers as (select * from {{ ref("stg_marketplace__customers") }}),

    orders as (select order_customer_id, ordered_at from {{ ref("stg_marketplace__orders") }}),

    -- each order tells where the person lived then; of two orders of one second one counts
    observed as (

        select customers.*, coalesce(orders.ordered_at, customers._loaded_at) as observed_at
        from customers
        left join orders on customers.order_customer_id = orders.order_customer_id
        qualify
            row_number() over (
                partition by customers.customer_id, coalesce(orders.ordered_at, customers._loaded_at)
                order by customers.order_customer_id
            )
            = 1

    ),

    final as (

        select
            customer_id,
            cast(null as varchar) as first_name,
            cast(null as varchar) as last_name,
            cast(null as varchar) as email_hash,
            cast(null as varchar) as phone_hash,
            city,
            region,
            postal_code,
            cast(null as varchar) as segment_code,
            cast(null as varchar) as age_band,
            cast(null as varchar) as income_band,
            min(observed_at) over (partition by customer_id) as created_at,
            observed_at as updated_at,
            case when observed_at = min(observed_at) over (partition by customer_id) then 'i' else 'u' end as _op,
            _loaded_at
        from observed

    )

select *
from final
