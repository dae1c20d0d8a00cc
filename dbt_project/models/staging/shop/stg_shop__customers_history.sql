with

    source as (select * from {{ source("shop", "customers_history") }}),

    renamed as (

        select
            customer_id,
            first_name,
            last_name,
            email as email_hash,
            phone as phone_hash,
            city,
            region,
            postal_code,
            segment_code,
            age_band,
            income_band,
            created_at,
            updated_at,
            _op,
            _loaded_at,
        from source

    )

select *
from renamed
