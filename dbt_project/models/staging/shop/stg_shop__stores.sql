with

    source as (select * from {{ source("shop", "stores") }}),

    renamed as (

        select
            store_id,
            store_name,
            city,
            region,
            country_code,
            time_zone,
            opened_date,
            created_at,
            updated_at,
            _loaded_at,
        from source

    )

select *
from renamed
