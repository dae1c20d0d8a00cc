with

    source as (select * from {{ source("marketplace", "sellers") }}),

    renamed as (

        select seller_id, seller_zip_code_prefix as postal_code, seller_city as city, seller_state as region, _loaded_at
        from source

    )

select *
from renamed
