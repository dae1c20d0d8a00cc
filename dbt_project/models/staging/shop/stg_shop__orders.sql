with

    source as (select * from {{ source("shop", "orders") }}),

    renamed as (

        select
            order_id,
            customer_id,
            store_id,
            status_code,
            currency_code,
            ordered_at,
            paid_at,
            shipped_at,
            delivered_at,
            returned_at,
            updated_at,
            _loaded_at,
        from source

    )

select *
from renamed
