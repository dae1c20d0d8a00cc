{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{{ delete_stale_days(ref('int_sensor_readings'), 'read_at') }}",
    )
}}

with sensor_readings as (select * from {{ ref("int_sensor_readings") }} where {{ missing_days("read_at") }})

select *
from sensor_readings
