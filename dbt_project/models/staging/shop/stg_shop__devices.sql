with

    source as (select * from {{ source("shop", "devices") }}),

    renamed as (

        select
            device_id, store_id, device_code, model_name, installed_at, is_active, created_at, updated_at, _loaded_at,
        from source

    )

select *
from renamed
