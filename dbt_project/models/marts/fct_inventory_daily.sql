with

    stock_days as (select * from {{ ref("int_stock_days") }}),

    final as (

        select {{ surrogate_key(["store_id", "product_id", "inventory_date"]) }} as inventory_key, * from stock_days

    )

select *
from final
