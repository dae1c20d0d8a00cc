with

    source as (select * from {{ source("marketplace", "customers") }}),

    renamed as (

        select
            customer_id as order_customer_id,
            customer_unique_id as customer_id,
            customer_zip_code_prefix as postal_code,
            customer_city as city,
            customer_state as region,
            _loaded_at
        from source

    )

select *
from renamed
