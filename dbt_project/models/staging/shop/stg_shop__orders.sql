with

    source as (select *, filename as _lake_file from {{ source("shop", "orders") }}),

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
            _lake_file,
        from source

    )

select *
from renamed
