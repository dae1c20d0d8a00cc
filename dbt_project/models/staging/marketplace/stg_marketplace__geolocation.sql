with

    source as (select * from {{ source("marketplace", "geolocation") }}),

    renamed as (

        select
            _file as file_name,
            _row as row_number,
            geolocation_zip_code_prefix as postal_code,
            geolocation_lat as latitude_degrees,
            geolocation_lng as longitude_degrees,
            geolocation_city as city,
            geolocation_state as region,
            _loaded_at
        from source

    )

select *
from renamed
