with

    source as (select *, filename as _lake_file from {{ source("shop", "order_items") }}),

    renamed as (

        select
            order_id,
            line_number,
            product_id,
            quantity,
            sales_amount,
            retail_discount_amount,
            coupon_discount_amount,
            coupon_match_discount_amount,
            ordered_at,
            updated_at,
            _loaded_at,
            _lake_file,
        from source

    )

select *
from renamed
