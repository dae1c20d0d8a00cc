with

    source as (select * from {{ source("shop", "sensor_readings") }}),

    renamed as (

        select device_id, read_at, temperature_celsius, humidity_percent, pressure_hpa, received_at, _loaded_at,
        from source

    )

select *
from renamed
