{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{{ delete_stale_days(ref('int_sensor_readings'), 'read_at') }}",
        post_hook="{{ remember(**inputs_of_sensor_readings()) }}",
    )
}}

{% set days = changed_days(**inputs_of_sensor_readings()) %}

with sensor_readings as (select * from {{ ref("int_sensor_readings") }} where {{ missing_days("read_at", days) }})

select *
from sensor_readings
