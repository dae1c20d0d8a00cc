{{ config(materialized="table") }}

with

    days as ({{ days_within(ref("int_sale_years")) }}),

    zones as ({{ time_zones() }}),

    zone_days as (

        select
            zones.time_zone,
            days.date_day,
            {{ utc_offset("days.date_day", "zones.time_zone") }} as offset_at_begin,
            {{ utc_offset(dbt.dateadd("day", 1, "days.date_day"), "zones.time_zone") }} as offset_at_end
        from days
        cross join zones

    ),

    final as (

        select time_zone, date_day as utc_date, offset_at_begin as offset_us
        from zone_days
        where offset_at_begin = offset_at_end

    )

select *
from final
