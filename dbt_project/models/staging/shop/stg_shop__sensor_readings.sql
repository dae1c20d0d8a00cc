with

    source as (select *, filename as _lake_file from {{ source("shop", "sensor_readings") }}),

    renamed as (

        select
            device_id,
            read_at,
            temperature_celsius,
            humidity_percent,
            pressure_hpa,
            received_at,
            _loaded_at,
            _lake_file,
        from source

    )

select *
from renamed
