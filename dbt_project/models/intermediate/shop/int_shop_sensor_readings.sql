select * from {{ ref("stg_shop__sensor_readings") }}
