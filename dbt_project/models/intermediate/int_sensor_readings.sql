with

    sensor_readings as (select * from {{ ref("int_shop_sensor_readings") }}),

    devices as (select * from {{ ref("int_shop_devices") }}),

    final as (

        select
            sensor_readings.read_at,
            sensor_readings.device_id,
            -- -1: the device is not in the shop's list of devices
            coalesce(devices.store_id, -1) as store_id,
            sensor_readings.temperature_celsius,
            sensor_readings.humidity_percent,
            sensor_readings.pressure_hpa
        from sensor_readings
        left join devices on sensor_readings.device_id = devices.device_id

    )

select *
from final
