{{ config(materialized="table") }}

with

    -- the first and the last sale that can lie on a day of the calendar in some time zone
    ends as (

        select min(ordered_at) as first_sale_at, max(ordered_at) as last_sale_at
        from {{ ref("int_shop_order_items") }}
        where
            ordered_at >= {{ dbt.dateadd("day", -1, midnight(var("calendar_from"))) }}
            and ordered_at < {{ dbt.dateadd("day", 1, midnight(var("calendar_until"))) }}

    ),

    zones as ({{ time_zones() }}),

    sales as (

        select
            min(cast({{ local_time("ends.first_sale_at", "zones.time_zone") }} as date)) as first_sale_date,
            max(cast({{ local_time("ends.last_sale_at", "zones.time_zone") }} as date)) as last_sale_date
        from ends
        cross join zones

    ),

    final as (

        select
            cast({{ dbt.date_trunc("year", "first_sale_date") }} as date) as first_day,
            cast({{ dbt.date_trunc("year", dbt.dateadd("year", 2, "last_sale_date")) }} as date) as end_day
        from sales

    )

select *
from final
