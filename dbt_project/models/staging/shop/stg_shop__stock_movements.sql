with

    source as (select * from {{ source("shop", "stock_movements") }}),

    renamed as (

        select movement_id, store_id, product_id, moved_at, reason_code, quantity_change, received_at, _loaded_at,
        from source

    )

select *
from renamed
