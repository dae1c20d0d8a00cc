with

    source as (select * from {{ source("shop", "products_history") }}),

    renamed as (

        select
            product_id,
            product_name,
            department_name,
            category_name,
            brand_name,
            package_size,
            unit_price_amount,
            unit_cost_amount,
            is_active,
            created_at,
            updated_at,
            _op,
            _loaded_at,
        from source

    )

select *
from renamed
