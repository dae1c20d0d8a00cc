with

    source as (select * from {{ source("marketplace", "orders") }}),

    renamed as (

        select
            order_id,
            customer_id as order_customer_id,
            order_status as status_code,
            {{ utc_instant("order_purchase_timestamp", "'America/Sao_Paulo'") }} as ordered_at,
            {{ utc_instant("order_approved_at", "'America/Sao_Paulo'") }} as approved_at,
            {{ utc_instant("order_delivered_carrier_date", "'America/Sao_Paulo'") }} as shipped_at,
            {{ utc_instant("order_delivered_customer_date", "'America/Sao_Paulo'") }} as delivered_at,
            cast(order_delivered_customer_date as date) as delivered_date,
            cast(order_estimated_delivery_date as date) as promised_date,
            _loaded_at
        from source

    )

select *
from renamed
