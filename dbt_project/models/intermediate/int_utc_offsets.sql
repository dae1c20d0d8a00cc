{{ config(materialized="table") }}

{% set first_day = "cast('" ~ var("calendar_from") ~ "' as date)" %}
{% set end_day = "cast('" ~ var("calendar_until") ~ "' as date)" %}

with

    spine as ({{ dbt.date_spine("day", first_day, end_day) }}),

    days as (

        select cast(spine.date_day as date) as utc_date
        from spine
        inner join
            {{ ref("int_sale_years") }} as years
            on cast(spine.date_day as date) >= years.first_day
            and cast(spine.date_day as date) < years.end_day

    ),

    zones as ({{ time_zones() }}),

    zone_days as (

        select
            zones.time_zone,
            days.utc_date,
            {{ utc_offset("days.utc_date", "zones.time_zone") }} as offset_at_begin,
            {{ utc_offset(dbt.dateadd("day", 1, "days.utc_date"), "zones.time_zone") }} as offset_at_end
        from days
        cross join zones

    ),

    final as (

        select time_zone, utc_date, offset_at_begin as offset_us from zone_days where offset_at_begin = offset_at_end

    )

select *
from final
