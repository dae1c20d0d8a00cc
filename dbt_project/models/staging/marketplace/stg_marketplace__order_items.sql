with

    source as (select * from {{ source("marketplace", "order_items") }}),

    renamed as (

        select
            order_id,
            cast(order_item_id as integer) as line_number,
            product_id,
            seller_id,
            {{ utc_instant("shipping_limit_date", "'America/Sao_Paulo'") }} as shipping_limit_at,
            price as price_amount,
            freight_value as freight_amount,
            _loaded_at
        from source

    )

select *
from renamed
